"""What a feeder imports before it begins, once for all feeders of a machine's worker."""

from __future__ import annotations

import cv2
import torch
import transformers
import transformers.image_processing_backends
from transformers.utils import logging as transformers_logging

from florilegium.engine.core.image import reading
from florilegium.specialists.pretrained import network

__all__ = ["begin", "network", "reading", "transformers"]


def begin() -> None:
    """Keep this process to one thread, and leave warnings of libraries to the worker, which
    prepares an image of its own when it loads a model."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
