"""Files of a training on a mounted file system: digests, fsync, atomic JSON."""

from __future__ import annotations

import json
import os
from hashlib import file_digest
from pathlib import Path
from typing import Any

from florilegium.engine.storage.folder import Folder

PROGRESS = "progress.json"
"""What a training does, or its step and loss; in its folder."""


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def make_durable(folder: Path) -> None:
    """Flush the files of a folder to disk (fsync)."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def write_json(folder: Path, name: str, values: Any, *, durable: bool = True) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
    Folder(str(folder)).publish(name, text.encode(), durable=durable)


def write_doing(folder: Path, doing: str) -> None:
    """Write what a training does before its first losses, for the display."""
    write_json(folder, PROGRESS, {"doing": doing}, durable=False)
