"""The log of a pretraining: loss, time, F1, and intermediate students."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from florilegium.pipelines.shape_world.pretrain.architecture import save_tiny
from florilegium.pipelines.shape_world.pretrain.measure import measure_detection
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing

log = logging.getLogger(__name__)

_LOG_EVERY, _SAVE_EVERY = 100, 1000
"""Steps between two lines of the log, and between two intermediate students."""


class TrainingLog:
    """Called after every step: logs, measures on `held_out`, saves intermediate students."""

    def __init__(
        self, model: Any, processor: Any, held_out: Sequence[Drawing], folder: Path | None
    ) -> None:
        self.model, self.processor = model, processor
        self.held_out, self.folder = held_out, folder
        self._losses: list[float] = []
        self._started = time.monotonic()

    def __call__(self, phase: str, step: int, loss: float) -> None:
        """Record that `step`, from 0, of a phase is done."""
        self._losses.append(loss)
        if (step + 1) % _LOG_EVERY == 0:
            mean = sum(self._losses) / len(self._losses)
            seconds = time.monotonic() - self._started
            log.info("%s: step %d, %.0f s, loss %.3f", phase, step + 1, seconds, mean)
            self._losses.clear()
        if phase != "tower" and (step + 1) % _SAVE_EVERY == 0:
            f1 = measure_detection(self.model, self.processor, self.held_out).f1 or 0.0
            log.info("%s: step %d, F1 %.3f", phase, step + 1, f1)
            self._save()

    def _save(self) -> None:
        """Replace the intermediate student; a reader finds a complete one or none."""
        if self.folder is None:
            return
        fresh, old = (self.folder.with_suffix(end) for end in (".new", ".old"))
        save_tiny(fresh, self.model, self.processor)
        if self.folder.exists():
            os.replace(self.folder, old)
        os.replace(fresh, self.folder)
        shutil.rmtree(old, ignore_errors=True)
