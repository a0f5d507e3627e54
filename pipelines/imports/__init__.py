"""Imports: what people changed in other programs becomes corrections of a run."""
