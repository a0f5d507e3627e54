"""The command that exports a dataset in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florilegium.pipelines.commands.options import (
    Directory,
    NoPlugins,
    local_folder,
    out,
    overrides_like,
    warn,
)


def export(
    directory: Directory,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="`coco`, `florence2`, `pali`, `episodes`, ... or one of a plugin.",
        ),
    ],
    output: Annotated[
        Path, typer.Option(parser=local_folder, metavar="PATH", help="The folder to write.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file with options of the format, or for `florence2` the shipped `train`."
        ),
    ] = None,
    overrides: Annotated[list[str] | None, overrides_like("absent_share=0 of `florence2`")] = None,
    no_plugins: NoPlugins = False,  # the config of an export names no class
) -> None:
    """Write a dataset for other programs: Florence-2 JSONL, COCO, few-shot episodes, pages."""
    from florilegium.engine.planning.config import load_document, validated
    from florilegium.pipelines.commands.shipped import config_path
    from florilegium.pipelines.export.exporter import export as export_dataset
    from florilegium.pipelines.export.exporter import find_exporter

    exporter = find_exporter(form)
    document = load_document(config and config_path(config), overrides=overrides or [])
    where = str(config or f"--format {form}")
    options = validated(exporter.Config, document, where=where)
    exported = export_dataset(directory, exporter(options), output)
    warn(exported.warnings())
    for line in exported.summary():
        out.say(line)
    out.say(str(output))
