"""Merging: annotations of several specialists about one object become one annotation."""
