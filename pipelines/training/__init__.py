"""From the labels of a finished dataset to a trained Florence-2."""
