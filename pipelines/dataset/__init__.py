"""A finished dataset: its files, its card, and where an image and its labels are found in it."""
