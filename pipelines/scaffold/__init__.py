"""Writes packages for plugins: a working example of each kind, to be changed into one's own."""
