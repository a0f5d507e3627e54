"""A finished dataset: its files, its card, and finding an image and its labels in it."""
