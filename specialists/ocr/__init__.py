"""Specialists that read the text in images."""
