"""Commands that export annotations in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.core.counted import counted
from pipelines.commands.options import (
    Directory,
    NoPlugins,
    Overrides,
    out,
    warn_untrained,
)


def export_florence2(
    directory: Directory,
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/train.yaml.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    overrides: Overrides = None,
    no_plugins: NoPlugins = False,  # the config of a training names no class
) -> None:
    """Write the training set of a dataset as the JSONL that Florence-2 fine-tuning tools read."""
    from engine.planning.config import load_document, validated
    from pipelines.export.florence2 import export_jsonl
    from pipelines.training.config import TrainConfig

    document = load_document(config, overrides=overrides or [])
    exported = export_jsonl(directory, validated(TrainConfig, document, where=str(config)), output)
    warn_untrained([task for task, lines in exported.tasks.items() if not lines])
    for part, lines in exported.lines.items():
        images = counted(exported.images[part], "image")
        out.say(f"{part:6} {images}, {counted(lines, 'line')}")
    out.say(str(output))


def examples(
    directory: Directory,
    audit: Annotated[str, typer.Argument(help='A file of {"id": ..., "right": true} lines.')],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    per_task: Annotated[
        int, typer.Option(min=1, help="At most this many examples of each task.")
    ] = 16,
) -> None:
    """Write captions that an audit marked right, as examples for a few-shot annotator."""
    from pipelines.export.few_shot import EXAMPLES, write_examples

    for task, count in write_examples(directory, audit, output, per_task).items():
        out.say(f"{task:22} {counted(count, 'example')}")
    out.say(f"{output}/{EXAMPLES}")
