"""Specialists that find drawn shapes in pixels, as a stranger would who knows no truth."""
