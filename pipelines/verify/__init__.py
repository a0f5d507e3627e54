"""Checks that a dataset is complete and unchanged; signs it."""
