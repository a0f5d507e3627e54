"""The words of the domain: annotation, sample, image, stage, and what can go wrong with them."""
