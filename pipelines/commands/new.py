"""The command that writes the package of a new plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florilegium.pipelines.commands.options import local_folder, out
from florilegium.pipelines.scaffold.kind import Kind


def new(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What the plugin is.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is called, as in `my-detector`.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=local_folder,
            metavar="FOLDER",
            help="The folder to write; by default NAME in the current folder.",
        ),
    ] = None,
) -> None:
    """Write a package for a plugin of your own: a working example with its test."""
    from shlex import quote

    from florilegium.pipelines.scaffold.names import names_of
    from florilegium.pipelines.scaffold.package import a_kind, command_of, write_package

    names = names_of(kind, name)
    folder = output or Path(names.distribution)
    write_package(names, folder)
    module = folder / "src" / names.module / f"{kind}.py"
    out.say(f"{module}: {a_kind(kind)} that works, to be changed into yours. Now:")
    for line in (
        f"cd {quote(str(folder))} && pip install -e '.[test]'",
        "python -m pytest",
        command_of(names),
    ):
        out.say(f"  {line}")
