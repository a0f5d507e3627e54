"""The download sizes of missing models, from the model hub.

Requests names and sizes of files only; without a connection the sizes are unknown.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_S = 5.0


def download_lines(commands: Sequence[str]) -> list[str]:
    """Return each `hf download` command with its download size, the sum, and why sizes are unknown,
    if any are."""
    with ThreadPoolExecutor(max(1, len(commands))) as threads:
        sizes = list(threads.map(_size, commands))
    lines = [
        f"not here yet: {command}  ({_text(size)})"
        for command, size in zip(commands, sizes, strict=True)
    ]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) > 1:
        lines.append(f"sum of all known sizes: {_text(sum(known))}")
    if reasons := sorted({size for size in sizes if isinstance(size, str)}):
        lines.append(f"sizes are unknown because: {'; '.join(reasons)}")
    return lines


def size_text(command: str) -> str:
    """Return the download size of an `hf download` command, or why it is unknown."""
    size = _size(command)
    return f"size unknown: {size}" if isinstance(size, str) else _text(size)


def _size(command: str) -> int | str:
    """Return the bytes that a command downloads, or why they are unknown."""
    from huggingface_hub import HfApi

    model, *options = shlex.split(command)[2:]
    revision = options[1] if options else None
    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    except Exception as error:  # any error of the hub, HTTP or the network
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    sizes = [file.size for file in info.siblings or ()]
    return sum(size for size in sizes if size) if all(sizes) else "the hub gives no file sizes"


def _text(size: int | str) -> str:
    if isinstance(size, str):
        return "size unknown"
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"
