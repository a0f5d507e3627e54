"""The command that brings in what people corrected in other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florilegium.pipelines.commands.options import Directory, out, warn


def import_(
    directory: Directory,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file that the other program gave.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="`label-studio`, `cvat`, `coco`, `audit` (`audit/NAME.jsonl` of a run), or of a "
            "plugin.",
        ),
    ],
    who: Annotated[
        str, typer.Option(help="The person who corrected, where the file does not say.")
    ] = "",
    exported: Annotated[
        Path | None,
        typer.Option(
            help="The file as it was exported, for `cvat` and `coco`: what is gone was rejected."
        ),
    ] = None,
) -> None:
    """Take over what people corrected in Label Studio, CVAT, COCO or an audit; the next build
    applies it."""
    from datetime import UTC, datetime

    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.imports.importer import find_importer
    from florilegium.pipelines.imports.importing import import_corrections
    from florilegium.pipelines.imports.times import in_utc

    imported = import_corrections(
        Folder(directory),
        file,
        find_importer(form)(),
        who=who,
        when=in_utc(datetime.now(UTC)),
        exported=exported,
    )
    warn(imported.warnings())
    for line in imported.summary():
        out.say(line)
    if imported.new:
        out.say(f"run the same build again to apply them: {directory} changes then")
