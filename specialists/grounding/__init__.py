"""Who ties phrases of captions to regions."""
