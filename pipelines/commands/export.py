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
    where: Annotated[
        str, typer.Option(help="Only annotations for which this holds, as `score >= 0.5`.")
    ] = "",
    tasks: Annotated[str, typer.Option(help="Only these tasks: `caption,ocr`.")] = "",
    split: Annotated[
        str, typer.Option(help="Parts with their shares of the images: `train=.9,val=.1`.")
    ] = "",
    images: Annotated[
        str, typer.Option(help="`copy` writes images, `reference` names them, `none`.")
    ] = "copy",
    classes: Annotated[
        Path | None, typer.Option(help="A YAML file: the class of each label, in order of the ids.")
    ] = None,
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out images without annotations.")
    ] = False,
    overrides: Annotated[list[str] | None, overrides_like("absent_share=0 of `florence2`")] = None,
    no_plugins: NoPlugins = False,  # the config of an export names no class
) -> None:
    """Write a dataset for other programs: COCO, YOLO, FiftyOne, `datasets`, LLaVA, Florence-2."""
    from florilegium.engine.planning.config import load_document, validated
    from florilegium.pipelines.commands.shipped import config_path
    from florilegium.pipelines.export.exporter import export as export_dataset
    from florilegium.pipelines.export.exporter import find_exporter
    from florilegium.pipelines.export.selection import parse_selection

    exporter = find_exporter(form)
    document = load_document(config and config_path(config), overrides=overrides or [])
    origin = str(config or f"--format {form}")
    options = validated(exporter.Config, document, where=origin)
    selection = parse_selection(
        where=where,
        tasks=tasks,
        split=split,
        images=images,
        classes=classes,
        drop_empty=drop_empty,
    )
    exported = export_dataset(directory, exporter(options), output, selection)
    warn(exported.warnings())
    for line in exported.summary():
        out.say(line)
    out.say(str(output))
