"""Specialists that ground phrases of captions in regions."""
