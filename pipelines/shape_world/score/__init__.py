"""Scores of annotations against the ground truth of drawn scenes."""
