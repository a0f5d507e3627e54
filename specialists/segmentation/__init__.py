"""Specialists that segment objects."""
