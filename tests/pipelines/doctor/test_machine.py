"""CPUs, memory and GPUs, as a container limits them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from florilegium.pipelines.doctor import machine
from florilegium.pipelines.doctor.finding import OK, WARNING, Finding
from florilegium.pipelines.doctor.machine import (
    WORKER_MIB,
    gpu_findings,
    machine_findings,
)
from tests.pipelines.doctor.conftest import by_name

MIB = 1 << 20
GPU = "NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15"


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)


@pytest.mark.parametrize(
    ("free_mib", "level", "cure"),
    [
        (8 * WORKER_MIB + 512, OK, ""),
        (8 * WORKER_MIB + 511, WARNING, "build with --set runner.workers=7"),
        (3 * WORKER_MIB + 512, WARNING, "build with --set runner.workers=3"),
        (100, WARNING, "build with --set runner.workers=1"),
    ],
)
def test_little_memory_is_a_warning_with_the_workers_that_fit(
    monkeypatch: pytest.MonkeyPatch, free_mib: int, level: str, cure: str
) -> None:
    memory = SimpleNamespace(total=64 << 30, available=free_mib * MIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr(machine, "memory_limit", lambda: None)
    monkeypatch.setattr(machine, "memory_left", lambda: None)
    monkeypatch.setattr(machine, "usable_cpus", lambda: 8)
    finding = by_name(machine_findings(512))["memory"]
    assert (finding.level, finding.cure) == (level, cure)


Gpu = Callable[[str], None]


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Let `nvidia-smi` be a program that lists these GPUs."""

    def listed(text: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return listed


def torch(monkeypatch: pytest.MonkeyPatch, *, cuda: str | None, warning: str = "") -> None:
    """Put a torch in place that was built for a CUDA; with a warning it cannot use it."""

    def is_available() -> bool:
        if warning:
            warnings.warn(warning, stacklevel=2)
        return bool(cuda) and not warning

    module: Any = ModuleType("torch")
    module.__version__ = "2.9.0"
    module.__spec__ = SimpleNamespace(name="torch")
    module.cuda = SimpleNamespace(is_available=is_available)
    module.version = SimpleNamespace(cuda=cuda)
    module.backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", module)


def only() -> Finding:
    [finding] = gpu_findings()
    return finding


def test_torch_is_not_imported_where_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises
    assert only().text.startswith("none found")


def test_a_gpu_that_torch_can_use_is_fine(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(GPU)
    torch(monkeypatch, cuda="12.8")
    finding = only()
    assert finding.level == OK
    assert finding.text == (
        "NVIDIA H100 80GB HBM3 (81559 MiB, driver 570.86.15), usable by torch 2.9.0"
    )


def test_a_driver_that_is_too_old_is_a_warning_in_torchs_words(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(GPU)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torch(monkeypatch, cuda="13.0", warning="The NVIDIA driver on your system is too old")
    finding = only()
    assert finding.level == WARNING
    assert "not usable: The NVIDIA driver on your system is too old" in finding.text
    assert finding.cure == "install a driver for CUDA 13.0, or a torch for the driver"


def test_a_torch_for_cpus_is_a_warning(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(GPU)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torch(monkeypatch, cuda=None)
    finding = only()
    assert finding.level == WARNING
    assert "torch 2.9.0 is built for CPUs" in finding.text


def test_hidden_gpus_are_a_warning(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(GPU)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torch(monkeypatch, cuda="12.8", warning="no device")
    finding = only()
    assert finding.cure == "unset CUDA_VISIBLE_DEVICES"
