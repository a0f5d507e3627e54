"""Text files that options name: lists of words, vocabularies, prompts.

A path is looked for from the current folder and, failing that, from the installation, where
`configs` lies beside `specialists`. What is in the files is for their readers to know.
"""

from __future__ import annotations

from pathlib import Path

from engine.core.errors import ConfigError, nearest

_INSTALLED = Path(__file__).parents[2]


def read_text(path: str, what: str) -> tuple[str, str]:
    """Return the text of a file, and where it was found; `what` it is, an error tells.

    Raises:
        ConfigError: it is not there, or cannot be read.
    """
    for place in (Path(path).expanduser(), _INSTALLED / path):
        if place.is_file():
            try:
                return place.read_text(encoding="utf-8"), str(place)
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read the {what} {place}: {error}") from error
    raise ConfigError(f"there is no {what} {path!r}, {_hint(path)}")


def _hint(path: str) -> str:
    if Path(path).is_absolute():
        return "check the path"
    shipped = sorted((_INSTALLED / path).parent.glob("*.txt"))
    names = [str(one.relative_to(_INSTALLED)) for one in shipped]
    return nearest(path, names) if names else "check the path"
