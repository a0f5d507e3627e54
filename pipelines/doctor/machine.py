"""CPUs, memory and GPUs as this process may use them, those of its container included."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from florilegium.engine.core.counted import counted
from florilegium.pipelines.doctor.finding import OK, WARNING, Finding

TOPIC = "machine"
CGROUP = Path("/sys/fs/cgroup")
WORKER_MIB = 700
"""Peak memory of a process that asks all stages of the quickstart, as `florilegium try text_filter
--config quickstart` shows it."""
_MIB = 1 << 20
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit and use of a cgroup of version 2 and of version 1, and what `memory.stat` calls its cache.
"""
_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_NVIDIA_S = 10.0


def machine_findings(store_mib: int) -> Iterator[Finding]:
    """Yield CPUs, memory and GPUs; `store_mib` is the memory for images that a build takes."""
    cpus = usable_cpus()
    whole = os.cpu_count() or cpus
    more = f" of {whole}; the others are not for this process" if cpus < whole else ""
    yield Finding(topic=TOPIC, name="CPUs", level=OK, text=f"{counted(cpus, 'CPU')}{more}")
    yield _memory(cpus, store_mib)
    yield from gpu_findings()


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Return how many CPUs this process may use at once: by its affinity and its cgroup."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    for folder in _own_cgroups(cgroup, "cpu"):
        quota, period = _quota(folder)
        if quota > 0:
            cpus = min(cpus, max(1, round(quota / period)))
    return cpus


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes of memory that the cgroup of this process allows; `None` without limit."""
    names = ("memory.max", "memory.limit_in_bytes")
    texts = [_read(folder / name) for folder in _own_cgroups(cgroup, "memory") for name in names]
    limits = [int(text) for text in texts if text.isdecimal()]
    return min(limits, default=None)


def memory_left(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes that the cgroup of this process may still take; `None` without limit. Files
    that were read and can be dropped do not count as taken."""
    left: list[int] = []
    for folder in _own_cgroups(cgroup, "memory"):
        for most, used, cache in _MEMORY_FILES:
            limit, taken = _read(folder / most), _read(folder / used)
            if limit.isdecimal() and taken.isdecimal():
                lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
                cached = next((int(value) for name, value in lines if name == cache), 0)
                left.append(max(0, int(limit) - max(0, int(taken) - cached)))
    return min(left, default=None)


def _own_cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup, up to the root, of version 2 and of version 1."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        own = base / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base))
    yield from (root, root / controller)


def _quota(folder: Path) -> tuple[float, float]:
    """Return the microseconds of CPU time in each period of so many; 0 without limit."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
    is_limited = quota.isdecimal() and period.isdecimal()
    return (float(quota), float(period)) if is_limited else (0.0, 1.0)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:  # another version, or another system
        return ""


def _memory(cpus: int, store_mib: int) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    limit = min(memory_limit() or memory.total, memory.total)
    left = memory_left()
    free_mib = min(memory.available, limit if left is None else left) / _MIB
    text = f"{limit / 2**30:.1f} GiB, of which {free_mib / 1024:.1f} GiB are free"
    workers = int((free_mib - store_mib) // WORKER_MIB)
    if workers >= cpus:
        return Finding(topic=TOPIC, name="memory", level=OK, text=text)
    text += f"; {counted(cpus, 'worker')} of the quickstart take about {WORKER_MIB} MiB each"
    cure = f"build with --set runner.workers={max(1, workers)}"
    return Finding(topic=TOPIC, name="memory", level=WARNING, text=text, cure=cure)


def gpu_findings() -> Iterator[Finding]:
    """Yield the GPUs that torch can use. It is imported only where there is a sign of one."""
    found = list(_nvidia())
    has_device = any(Path("/dev").glob("nvidia[0-9]*"))
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not (found or has_device or is_apple):
        text = "none found; models run on CPUs, which is slow for large ones"
        yield Finding(topic=TOPIC, name="GPUs", level=OK, text=text)
        return
    here = ", ".join(found) or ("Apple's" if is_apple else "a device of NVIDIA")
    if find_spec("torch") is None:
        text, cure = f"{here}; torch is not installed", "pip install torch"
        yield Finding(topic=TOPIC, name="GPUs", level=WARNING, text=text, cure=cure)
        return
    yield _of_torch(here)


def _nvidia() -> Iterator[str]:
    """Yield name, memory and driver of each GPU that NVIDIA's own program lists."""
    try:
        done = subprocess.run(
            _NVIDIA, capture_output=True, text=True, timeout=_NVIDIA_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    for name, memory, driver in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
        yield f"{name} ({memory}, driver {driver})"


def _of_torch(here: str) -> Finding:
    import warnings

    import torch

    build = f"torch {torch.__version__}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_usable = torch.cuda.is_available() or torch.backends.mps.is_available()
    if is_usable:
        text = f"{here}, usable by {build}"
        return Finding(topic=TOPIC, name="GPUs", level=OK, text=text)
    reasons = [str(one.message).splitlines()[0] for one in caught]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        reasons, cure = ["CUDA_VISIBLE_DEVICES hides them"], "unset CUDA_VISIBLE_DEVICES"
    elif torch.version.cuda is None:
        reasons, cure = [f"{build} is built for CPUs"], "install the build of torch for CUDA"
    else:
        cure = f"install a driver for CUDA {torch.version.cuda}, or a torch for the driver"
    text = f"{here}; not usable: {'; '.join(reasons) or build}; models run on CPUs"
    return Finding(topic=TOPIC, name="GPUs", level=WARNING, text=text, cure=cure)
