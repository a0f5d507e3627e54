"""Builds on object storage that fails, of each kind of source, many times: minutes."""
