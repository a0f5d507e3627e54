"""Bringing a dataset up to date: what changed, whether it is published, and a hook."""
