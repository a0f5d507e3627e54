"""Synthetic scenes with known ground truth: drawing, detectors, scores, and a pretrained
student."""
