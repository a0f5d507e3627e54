"""Specialists that detect objects: fixed classes of a checkpoint, or given names."""
