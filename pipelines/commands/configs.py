"""The configs that are shipped, by name: `florilegium build quickstart`, `florilegium configs`.

A name is that of a file in the package's folder `configs`, without `.yaml`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.terminal.console import Terminal

_FOLDER = Path(__file__).parents[2] / "configs"
out = Terminal()
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
    hint = nearest(given.stem, names)
    raise ConfigError(
        f"{cut(str(given))} is no file and no shipped config; {hint} (shipped: {', '.join(names)})"
    )


def first_sentence(text: str) -> str:
    """Return the first sentence of the comment at the top of a config."""
    lines = [line for line in text.splitlines() if not line.startswith(_EDITORS)]
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    found = _SENTENCE.match(" ".join(comment))
    return found[0].rstrip(".:") if found else ""


def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one, as it is.")] = None,
) -> None:
    """List the configs that are shipped, or print one: `florilegium configs quickstart > my.yaml`.

    Each can be used by its name: `florilegium build quickstart --source FOLDER`.
    """
    names = shipped_names()
    if name is None:
        width = max(map(len, names))
        for one in names:
            sentence = first_sentence(shipped_path(one).read_text("utf-8"))
            out.say(f"{one:{width}}  {sentence}")
    elif name in names:
        typer.echo(shipped_path(name).read_bytes(), nl=False)
    else:
        raise ConfigError(f"no shipped config is called {cut(name)}; {nearest(name, names)}")
