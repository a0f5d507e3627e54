"""The sample filters, which judge whole images: a file for each, and what they compare by."""
