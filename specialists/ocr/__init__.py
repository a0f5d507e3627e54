"""Who reads the text in images."""
