"""Judges of annotations, a file for each filter."""
