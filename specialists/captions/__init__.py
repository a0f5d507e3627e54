"""Specialists that write captions of images and texts about regions."""
