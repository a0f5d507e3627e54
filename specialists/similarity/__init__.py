"""Specialists that compare images with texts: tags, labels of regions."""
