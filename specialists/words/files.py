"""Reading text files that options name: word lists, vocabularies, prompts.

A path is relative to the current folder. `package://NAME/FILE` is a file of an installed package;
`package://florilegium/configs/objects.txt` is one of ours, wherever it is installed.
"""

from __future__ import annotations

from pathlib import Path

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.sources.url import package_folder

_PACKAGE = "package://"
_OURS = "package://florilegium"
_INSTALLED = Path(__file__).parents[2]


def read_text(path: str, what: str) -> tuple[str, str]:
    """Return the text of a file, and its path; `what` names the kind of file in errors.

    Raises:
        ConfigError: it does not exist, or cannot be read.
    """
    is_packed = path.startswith(_PACKAGE)
    location = Path(package_folder(path)) if is_packed else Path(path).expanduser()
    if not location.is_file():
        raise ConfigError(f"there is no {what} {path!r}, {_hint(path)}")
    try:
        return location.read_text(encoding="utf-8"), str(location)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the {what} {location}: {error}") from error


def _hint(path: str) -> str:
    shipped = () if Path(path).is_absolute() else (_INSTALLED / path).parent.glob("*.txt")
    names = [f"{_OURS}/{one.relative_to(_INSTALLED)}" for one in shipped]
    return nearest(f"{_OURS}/{path}", names) if names else "check the path"
