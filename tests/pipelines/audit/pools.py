"""Pools of invented statements."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from florilegium.pipelines.audit.pool import Pool, arranged

BOX = (0.0, 0.0, 10.0, 10.0)


def pool(
    certainty: np.ndarray,
    *,
    images: int = 40,
    specialists: tuple[str, ...] = ("dfine",),
    box: np.ndarray | None = None,
    seed: int = 0,
) -> Pool:
    """Return a pool of boxes around a cat: statement i of image i % `images`, by the specialists in
    turn."""
    count = len(certainty)
    boxes = np.tile(BOX, (count, 1)) + np.arange(count)[:, None] * 100 if box is None else box
    table = pa.table(
        {
            "id": [f"{row:016x}" for row in range(count)],
            "key": [f"image{row % images}" for row in range(count)],
            "task": ["object_detection"] * count,
            "specialist": [specialists[row % len(specialists)] for row in range(count)],
            "label": ["cat"] * count,
            "words": ["cat"] * count,
            "certainty": pa.array(certainty, pa.float64()),
            "box": pa.array(boxes.tolist(), pa.list_(pa.float64(), 4)),
            "shard": pa.array(np.zeros(count), pa.int32()),
        }
    )
    return arranged(table, seed)
