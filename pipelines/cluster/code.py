"""Which files of a plugin folder are sent: those that git would track, but hidden ones.

`.gitignore` and Ray's own `.rayignore` count in the folder, below it and, within the same
repository, above it; the deepest that knows a path decides, as git has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_IGNORE_FILES = (".gitignore", ".rayignore")
_NEVER = {"__pycache__", "venv"}
"""Folders that Ray leaves out, too; hidden ones aside."""


def code_of(folder: Path) -> Iterator[Path]:
    """Yield the files to send, relative to the folder; links to folders are not followed."""
    rules = _rules_above(folder)
    for where, folders, files in os.walk(folder):
        here = Path(where)
        rules[here] = _rules_of(here)
        folders[:] = sorted(
            name for name in folders if name not in _NEVER and _is_sent(here / name, rules, "/")
        )
        for name in sorted(files):
            if _is_sent(here / name, rules) and (here / name).is_file():
                yield (here / name).relative_to(folder)


def _is_sent(path: Path, rules: dict[Path, GitIgnoreSpec], slash: str = "") -> bool:
    if path.name.startswith("."):
        return False
    for folder in path.parents:  # the deepest first
        if folder in rules:
            is_ignored = rules[folder].check_file(f"{path.relative_to(folder)}{slash}").include
            if is_ignored is not None:
                return not is_ignored
    return True


def _rules_above(folder: Path) -> dict[Path, GitIgnoreSpec]:
    """Return the rules of the folders above, up to the root of the repository."""
    roots = [one for one in (folder, *folder.parents) if (one / ".git").exists()]
    if not roots or roots[0] == folder:
        return {}
    above = folder.parents[: folder.parents.index(roots[0]) + 1]
    return {one: _rules_of(one) for one in above}


def _rules_of(folder: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    lines: list[str] = []
    for name in _IGNORE_FILES:
        if (folder / name).is_file():
            lines += (folder / name).read_text("utf-8", "replace").splitlines()
    return GitIgnoreSpec.from_lines(lines)
