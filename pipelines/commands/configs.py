"""`florilegium configs`: the configs that are shipped, listed or printed."""

from __future__ import annotations

from typing import Annotated

import typer

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.commands.options import out
from florilegium.pipelines.commands.shipped import first_sentence, shipped_names, shipped_path


def configs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this one, as it is.")
    ] = None,
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
