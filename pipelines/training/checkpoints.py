"""Checkpoints of a training under way: whole ones only.

A checkpoint is a folder that others fill; its last file makes it one and has the digests of all
others, so that nothing is read that was not written here. Knows nothing of what is in it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.training.files import digest_of_file, make_durable, write_json

CHECKPOINTS = "checkpoints"
COMPLETE = "complete.json"
"""The last file of a checkpoint; a folder without it is not one."""
_NAME = re.compile(r"checkpoint-[0-9]{1,18}")


def last_checkpoint(output: Path) -> Path | None:
    """Return the latest whole checkpoint; one with a changed file or a file too many is none."""
    found = [path.parent for path in (output / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")]
    named = [path for path in found if _NAME.fullmatch(path.name)]
    return next(filter(_is_whole, sorted(named, key=step_of, reverse=True)), None)


def step_of(checkpoint: Path) -> int:
    """Return the step at which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Return what was stored when the checkpoint was completed."""
    return json.loads((checkpoint / COMPLETE).read_bytes())["state"]


def _is_whole(checkpoint: Path) -> bool:
    try:
        completed = json.loads((checkpoint / COMPLETE).read_bytes())
        is_ours = _NAME.fullmatch(checkpoint.name) and isinstance(completed["state"], dict)
        return bool(is_ours and _digests(checkpoint) == completed["digests"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _digests(checkpoint: Path) -> dict[str, str]:
    """Return the digest of each file but the last one; a link or a folder is no file of ours.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.name: "" if path.is_symlink() else digest_of_file(path)
        for path in checkpoint.iterdir()
        if path.name != COMPLETE
    }


def complete(output: Path, step: int, state: Mapping[str, Any], *, keep: int) -> None:
    """Make the folder of a step a checkpoint, and remove all but the last `keep`."""
    checkpoint = output / CHECKPOINTS / f"checkpoint-{step}"
    make_durable(checkpoint)
    write_json(checkpoint, COMPLETE, {"state": state, "digests": _digests(checkpoint)})
    older = sorted(checkpoint.parent.glob("checkpoint-*"), key=step_of)
    for old in older[:-keep]:
        (old / COMPLETE).unlink(missing_ok=True)  # what is half removed is no checkpoint
        shutil.rmtree(old)


def sweep(output: Path) -> list[str]:
    """Remove what is no whole checkpoint, so that nothing of it gets into a later one.

    Returns:
        The names of those that have other files than were written; what a process left that was
        killed while it wrote or removed is not among them.
    """
    damaged = []
    for folder in sorted((output / CHECKPOINTS).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink()
        elif not _is_whole(folder):
            damaged += [folder.name] * (folder / COMPLETE).exists()
            shutil.rmtree(folder)
    return damaged
