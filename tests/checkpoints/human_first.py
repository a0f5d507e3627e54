"""Corrections for the filter of people: those of its specialist."""

from __future__ import annotations

from tests.checkpoints.human import given, options

__all__ = ["given", "options"]
