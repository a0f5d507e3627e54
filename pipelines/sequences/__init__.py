"""Everything as a sequence of text and tokens (Unified-IO, OFA): coordinates, masks, images."""
