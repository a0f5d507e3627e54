"""A chat service on loopback, and a folder of examples: three photographs, each twice captioned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.checkpoints.lmm_caption import options as chat_options

TASKS = ("detailed_caption", "more_detailed_caption")


def options(folder: Path) -> dict[str, Any]:
    path = write_examples(folder / "examples", count=3)
    return {**chat_options(folder), "examples": str(path), "shots": 2}


def write_examples(folder: Path, count: int) -> Path:
    """Write images of noise and captions of them for each task; return the JSONL file."""
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(0)
    rows = []
    for number in range(count):
        name = f"images/{number}.png"
        pixels = noise.integers(0, 256, (24 + number, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        rows += [{"image": name, "task": task, "text": f"Noise {number}."} for task in TASKS]
    path = folder / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
