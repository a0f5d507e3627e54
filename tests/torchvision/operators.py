"""Importing this module makes torchvision importable, also in processes of the kit, which import
what their owner has imported."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(sys.prefix) / "torchvision"
"""Beside the environment, not in it: the other tests must not find it."""


def prepare() -> Any:
    """Import torchvision; return what has to live as long as it is used.

    Its wheels are built for CUDA. On another torch their operators in C do not load, and the
    import fails for want of two that it only describes: they are declared here, without code.
    """
    is_started = str(FOLDER) in sys.path  # by a process that searches it already
    if find_spec("torchvision") is not None and not is_started:
        return None
    if not FOLDER.is_dir():
        sys.exit(f"no torchvision in {FOLDER}: make .venv/torchvision.done")
    if not is_started:
        sys.path.insert(0, str(FOLDER))
    import torch

    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that operators do not load
        import torchvision  # noqa: F401
    return operators


OPERATORS = prepare()
"""What has to live as long as torchvision is used."""
