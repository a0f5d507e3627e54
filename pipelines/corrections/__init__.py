"""Corrections: what people said about annotations of a dataset, and what follows from it."""
