"""Who describes images and regions in words."""
