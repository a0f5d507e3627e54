"""Samples of drawn images, as the other specialists' tests make them."""

from tests.specialists.conftest import drawing, photograph

__all__ = ["drawing", "photograph"]
