"""Samples of drawn images, as the other specialists' tests make them."""

from tests.specialists.conftest import awkward, drawing

__all__ = ["awkward", "drawing"]
