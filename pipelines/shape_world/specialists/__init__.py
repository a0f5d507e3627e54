"""Classical detectors and masks of drawn shapes, for worlds whose truth is known."""
