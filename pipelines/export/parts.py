"""The folders of an export for training: each image in one of three, by its digest."""

from __future__ import annotations

from florilegium.engine.core.sample import fold_of

TRAIN, VALID, TEST = "train", "valid", "test"
"""The folders."""
_PARTS = 20
"""Equal parts of the samples, of which one is for validation and one for the test."""


def part_of(sha256: str) -> str:
    """Return the folder of an image: the same for the same bytes."""
    return {0: VALID, 1: TEST}.get(fold_of(sha256, _PARTS), TRAIN)
