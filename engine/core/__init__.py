"""The domain: annotation, sample, image, stage, verdict, and their errors."""
