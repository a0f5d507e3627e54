from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from florilegium.specialists.segmentation.mask_logits import (
    bytes_of,
    compressed,
    packed_changes,
    run_lengths,
    stability,
)

NOISE = np.random.default_rng(0).normal(size=(5, 37, 23)).astype(np.float32)
BLOCK = np.zeros((1, 37, 23), np.float32)
BLOCK[0, 4:20, 3:9] = 2
LAST = np.zeros((1, 37, 23), np.float32)
LAST[0, -1, -1] = 1


@pytest.mark.parametrize(
    "masks",
    [
        NOISE > 0.5,
        BLOCK > 0,
        LAST > 0,
        BLOCK > 9,
        BLOCK < 9,
        np.concatenate([BLOCK > 9, NOISE > 0, BLOCK < 9, BLOCK > 9, LAST > 0]),
        np.ones((2, 1, 1), bool),
    ],
    ids=["noise", "block", "last pixel", "empty", "full", "all kinds", "one pixel"],
)
def test_masks_are_written_as_pycocotools_writes_them(masks: np.ndarray) -> None:
    changes = packed_changes(torch.from_numpy(masks)).numpy()
    assert changes.shape == (len(masks), bytes_of(masks[0].size))
    rles = compressed(run_lengths(changes, masks[0].size), masks.shape[1:])
    pixels = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    assert rles == coco_mask.encode(pixels)


def test_no_masks_are_no_runs() -> None:
    runs = run_lengths(packed_changes(torch.zeros(0, 5, 4, dtype=torch.bool)).numpy(), 20)
    assert runs == compressed(runs, (5, 4)) == []


def test_stability_is_the_overlap_of_a_strict_and_a_lenient_mask() -> None:
    logits = 3 * NOISE
    strict, lenient = logits > 1, logits > -1
    overlap = (strict & lenient).sum(axis=(1, 2)) / (strict | lenient).sum(axis=(1, 2))
    assert 0.2 < overlap.min() < overlap.max() < 0.9
    np.testing.assert_allclose(stability(torch.from_numpy(logits)), overlap, rtol=1e-6)
    wider = (logits > 2).sum(axis=(1, 2)) / (logits > -2).sum(axis=(1, 2))
    np.testing.assert_allclose(stability(torch.from_numpy(logits), 2), wider, rtol=1e-6)


def test_a_clear_mask_is_stable_and_none_at_all_is_not() -> None:
    clear = torch.where(torch.from_numpy(BLOCK) > 0, 9.0, -9.0)
    assert stability(torch.cat([clear, torch.full_like(clear, -9.0)])).tolist() == [1, 0]
