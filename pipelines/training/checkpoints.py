"""Checkpoints of a running training.

The trainer writes the files of a checkpoint; `complete` adds the last one, with the digests of all
others. A folder without it, or with other files, is never loaded.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from florilegium.pipelines.training.files import digest_of_file, make_durable, write_json

CHECKPOINTS = "checkpoints"
COMPLETE = "complete.json"
"""The last file of a checkpoint; a folder without it is incomplete."""
_NAME = re.compile(r"checkpoint-[0-9]{1,18}")


def last_checkpoint(output: Path) -> Path | None:
    """Return the latest complete checkpoint; changed or additional files make one invalid."""
    found = [path.parent for path in (output / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")]
    named = [path for path in found if _NAME.fullmatch(path.name)]
    return next(filter(_is_complete, sorted(named, key=step_of, reverse=True)), None)


def step_of(checkpoint: Path) -> int:
    """Return the step at which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Return the state that was passed to `complete`."""
    return json.loads((checkpoint / COMPLETE).read_bytes())["state"]


def _is_complete(checkpoint: Path) -> bool:
    try:
        completed = json.loads((checkpoint / COMPLETE).read_bytes())
        is_ours = _NAME.fullmatch(checkpoint.name) and isinstance(completed["state"], dict)
        return bool(is_ours and _digests(checkpoint) == completed["digests"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _digests(checkpoint: Path) -> dict[str, str]:
    """Return the digest of each file except `COMPLETE`; "" for a link.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.name: "" if path.is_symlink() else digest_of_file(path)
        for path in checkpoint.iterdir()
        if path.name != COMPLETE
    }


def complete(output: Path, step: int, state: Mapping[str, Any], *, keep: int) -> None:
    """Complete the checkpoint of a step, and remove all but the last `keep`."""
    checkpoint = output / CHECKPOINTS / f"checkpoint-{step}"
    make_durable(checkpoint)
    write_json(checkpoint, COMPLETE, {"state": state, "digests": _digests(checkpoint)})
    older = sorted(checkpoint.parent.glob("checkpoint-*"), key=step_of)
    for old in older[:-keep]:
        (old / COMPLETE).unlink(missing_ok=True)  # first: a half removed folder is incomplete
        shutil.rmtree(old)


def sweep(output: Path) -> list[str]:
    """Remove all but the complete checkpoints, so that none of their files gets into a later one.

    Returns:
        The names of those with changed or additional files; those that a killed process left
        incomplete are not among them.
    """
    damaged = []
    for folder in sorted((output / CHECKPOINTS).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink()
        elif not _is_complete(folder):
            damaged += [folder.name] * (folder / COMPLETE).exists()
            shutil.rmtree(folder)
    return damaged
