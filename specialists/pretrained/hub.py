"""How much there is to download: what the model hub says of models that are not here.

Asks for names and sizes of files only; a hub that cannot be reached leaves sizes unknown.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_S = 5.0


def download_lines(commands: Sequence[str]) -> list[str]:
    """Return each `hf download` command with the size of what it fetches; their sum; and why sizes
    are unknown, where some are."""
    with ThreadPoolExecutor(max(1, len(commands))) as threads:
        sizes = list(threads.map(_size, commands))
    lines = [
        f"not here yet: {command}  ({_written(size)})"
        for command, size in zip(commands, sizes, strict=True)
    ]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) > 1:
        lines.append(f"all that the hub tells the size of: {_written(sum(known))}")
    if reasons := sorted({size for size in sizes if isinstance(size, str)}):
        lines.append(f"the hub does not tell every size: {'; '.join(reasons)}")
    return lines


def _size(command: str) -> int | str:
    """Return how many bytes a command fetches, or why nobody knows."""
    from huggingface_hub import HfApi

    model, *options = shlex.split(command)[2:]
    revision = options[1] if options else None
    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    except Exception as error:  # of the hub, of HTTP, of the network: none of them is ours
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    sizes = [file.size for file in info.siblings or ()]
    return sum(size for size in sizes if size) if all(sizes) else "it tells no sizes of files"


def _written(size: int | str) -> str:
    if isinstance(size, str):
        return "size unknown"
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"
