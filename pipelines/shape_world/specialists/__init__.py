"""Specialists that find drawn shapes in pixels; they never use the ground truth."""
