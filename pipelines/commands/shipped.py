"""The configs that are shipped, by name: `florilegium build quickstart`, `florilegium configs`.

A name is that of a file in the package's folder `configs`, without `.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.untrusted.escaped import cut

_FOLDER = Path(__file__).parents[2] / "configs"
_SENTENCE = re.compile(r".+?[.:](?=\s|$)", re.DOTALL)
_EDITORS = "# yaml-language-server:"
"""A line that tells editors where the schema is."""


def shipped_names() -> list[str]:
    """Return the names of the configs that are shipped."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def shipped_path(name: str) -> Path:
    """Return the path of a shipped config."""
    return _FOLDER / f"{name}.yaml"


def config_path(given: Path) -> Path:
    """Return the path of a config that is given by a path or by the name of a shipped one.

    A file of that path comes first, so a file `quickstart` in the current folder is used instead
    of the shipped config of that name.

    Raises:
        ConfigError: there is neither such a file nor such a name.
    """
    if given.is_file():
        return given
    names = shipped_names()
    if str(given) in names:
        return shipped_path(str(given))
    if given.exists():
        return given  # a folder, or a pipe; reading it has an error of its own
    raise ConfigError(
        f"{cut(str(given))} is no file and no shipped config{_hint(given, names)} "
        f"(shipped: {', '.join(names)})"
    )


def _hint(given: Path, names: Iterable[str]) -> str:
    """Return a hint that names the closest of the shipped configs and of the files in the same
    folder; "" where none is close."""
    valid = {name: repr(name) for name in names}
    with suppress(OSError):
        files = [path for path in given.parent.iterdir() if path.suffix in (".yaml", ".yml")]
        valid |= {path.stem: f"the file {cut(str(path))}" for path in sorted(files)}
    close = get_close_matches(given.stem, valid, n=1, cutoff=0.5)
    return f"; did you mean {valid[close[0]]}?" if close else ""


def config_file(text: str) -> Path:
    """Return the path of a config, or the name of a shipped one as a path.

    Raises:
        ConfigError: it is no file, and only its last part is the name of a shipped config.
    """
    path = Path(text)
    if str(path) != text and len(path.parts) == 1 and not path.exists():  # as in ./quickstart
        config_path(path.absolute())
    return path


def first_sentence(text: str) -> str:
    """Return the first sentence of the comment at the top of a config."""
    lines = [line for line in text.splitlines() if not line.startswith(_EDITORS)]
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    found = _SENTENCE.match(" ".join(comment))
    return found[0].rstrip(".:") if found else ""
