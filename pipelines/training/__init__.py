"""Training Florence-2 on the kept annotations of a finished dataset."""
