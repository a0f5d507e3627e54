"""Exports, read back by programs that stay out of the environment: `make test-readers`."""
