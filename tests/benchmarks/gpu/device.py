"""Which device there is, and the share of the time in which it is busy (`nvidia-smi`)."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

INTERVAL_MS = 100


@dataclass
class Busy:
    """Samples of how busy the device was, percent, with their times (`time.perf_counter`)."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def share(self, start_s: float, stop_s: float) -> float:
        """Return the mean between two moments, 0..1: NaN where nothing was sampled."""
        inside = [percent for time_s, percent in self.samples if start_s <= time_s <= stop_s]
        return fmean(inside) / 100 if inside else float("nan")


def is_gpu() -> bool:
    """Tell whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


def name() -> str:
    """Return what is measured on."""
    import torch

    return torch.cuda.get_device_name(0) if is_gpu() else "a CPU, tiny networks"


def choose_one() -> None:
    """Let this process and its children see one GPU only; call it before torch looks."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]


@contextmanager
def watched() -> Iterator[Busy]:
    """Watch the device while the block runs; on a CPU nothing is seen.

    A sample is the share of the last moments, 1/6 s to 1 s, in which a kernel was running.
    """
    busy = Busy()
    if not is_gpu():
        yield busy
        return
    command = [
        *("nvidia-smi", f"--id={os.environ['CUDA_VISIBLE_DEVICES']}", f"--loop-ms={INTERVAL_MS}"),
        *("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watcher = threading.Thread(target=_read, args=(process, busy), daemon=True)
        watcher.start()
        try:
            yield busy
        finally:
            process.terminate()
            watcher.join()


def _read(process: subprocess.Popen[str], busy: Busy) -> None:
    for line in process.stdout or ():
        if line.strip().isdigit():
            busy.samples.append((time.perf_counter(), float(line)))
