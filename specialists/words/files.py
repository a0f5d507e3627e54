"""Reading text files that options name: word lists, vocabularies, prompts.

A path is relative to the current folder, or else to the installation, where `configs` lies beside
`specialists`.
"""

from __future__ import annotations

from pathlib import Path

from florilegium.engine.core.errors import ConfigError, nearest

_INSTALLED = Path(__file__).parents[2]


def read_text(path: str, what: str) -> tuple[str, str]:
    """Return the text of a file, and its path; `what` names the kind of file in errors.

    Raises:
        ConfigError: it does not exist, or cannot be read.
    """
    for location in (Path(path).expanduser(), _INSTALLED / path):
        if location.is_file():
            try:
                return location.read_text(encoding="utf-8"), str(location)
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read the {what} {location}: {error}") from error
    raise ConfigError(f"there is no {what} {path!r}, {_hint(path)}")


def _hint(path: str) -> str:
    if Path(path).is_absolute():
        return "check the path"
    shipped = sorted((_INSTALLED / path).parent.glob("*.txt"))
    names = [str(one.relative_to(_INSTALLED)) for one in shipped]
    return nearest(path, names) if names else "check the path"
