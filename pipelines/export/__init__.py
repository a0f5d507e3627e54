"""Finished datasets in the form that other programs read, a module for each format."""
