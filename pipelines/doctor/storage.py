"""Free space of the folders that a build writes: output, temporary files, cache of the hub."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from florilegium.pipelines.doctor.finding import OK, PROBLEM, WARNING, Finding

TOPIC = "folders"
LEAST_BYTES = 1_000_000_000
"""Free bytes below which a folder is reported: a shard of 256 photographs of 4 MB."""
RAY_FULL = 0.95
"""The share of a disk beyond which Ray no longer moves objects to it (`local_fs_capacity_threshold`
in Ray's documentation)."""


def folder_findings(output: str | None = None) -> Iterator[Finding]:
    """Yield the folders, each with its free space; of an output, if it is on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if output is not None and "://" not in output:
        yield _output_finding(Path(output))
    yield folder_finding("current folder", Path.cwd(), "go to another folder, or name --output")
    yield folder_finding(
        "temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder with room", RAY_FULL
    )
    yield folder_finding("models of the hub", Path(HF_HUB_CACHE), "set HF_HOME to another folder")


def _output_finding(path: Path) -> Finding:
    """Return the finding of an output: it must be a folder that can be written, or made."""
    cure = "choose another --output"
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        text = f"{path} cannot be written: {there} is {'no' if not there.is_dir() else 'a locked'}"
        return Finding(topic=TOPIC, name="output", level=PROBLEM, text=f"{text} folder", cure=cure)
    return folder_finding("output", path, cure)


def folder_finding(name: str, path: Path, cure: str, fullest: float = 1.0) -> Finding:
    """Return the free space of a folder, or of where it would be made. A disk that is fuller than
    the share `fullest` is reported."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    text = f"{path}, {decimal(usage.free)} free"
    if not os.access(there, os.W_OK):
        text += "; it cannot be written"
    elif usage.free < LEAST_BYTES:
        text += f", less than {decimal(LEAST_BYTES)}"
    elif usage.total - usage.free > fullest * usage.total:
        text += f"; the disk is fuller than {fullest:.0%}, and Ray puts nothing on it"
    else:
        return Finding(topic=TOPIC, name=name, level=OK, text=text)
    return Finding(topic=TOPIC, name=name, level=WARNING, text=text, cure=cure)
