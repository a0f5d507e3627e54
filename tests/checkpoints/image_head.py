"""A tiny image-text model and a linear head for the sample filter `image_head`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints.image_text import write_clip


def options(folder: Path) -> dict[str, Any]:
    """Options of the sample filter: a head on the 12 numbers of the embedding."""
    from safetensors.numpy import save_file

    head = folder / "head.safetensors"
    weight = np.linspace(-1, 1, 12, dtype=np.float32)[None]
    save_file({"weight": weight, "bias": np.array([5], np.float32)}, head)
    return {"model": str(write_clip(folder / "clip")), "head": str(head), "least_score": 5.0}
