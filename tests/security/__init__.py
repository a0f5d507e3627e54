"""Attacks and faults that take minutes; the quick ones stand beside the behaviour they attack.

Both carry the mark `attack` with their kind, and `make test-security` counts them in one table.
"""
