"""Builds as jobs on a running Ray cluster: what is sent there, under which id, and what became of
it."""
