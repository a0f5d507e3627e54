"""The command that tries one stage on a few images, without a dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import PluginPath, local_folder, out, warn
from florilegium.pipelines.commands.shipped import config_file

if TYPE_CHECKING:
    from florilegium.engine.planning.config import RunConfig
    from florilegium.pipelines.trial.trial import Trial


def try_stage(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE", help="An installed stage, one of the config, or `module:Class`."
        ),
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="A few image files.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set an option of the stage."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            parser=config_file,
            metavar="CONFIG",
            help="Take the stage's options and the stages that it reads from here.",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Give it these annotations to read: a file that `try --json` printed."),
    ] = None,
    output: Annotated[str, typer.Option(help="Write the pictures here.")] = "out/try",
    plugin_path: PluginPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask one stage about a few images: print and draw what it finds, and what it costs."""
    from tempfile import TemporaryDirectory

    from florilegium.engine.execution.progress import Progress
    from florilegium.pipelines.terminal.progress import shown
    from florilegium.pipelines.trial.table import to_json
    from florilegium.pipelines.trial.trial import prepare_trial, run_trial

    folder = local_folder(output)
    loaded = _loaded(config)
    progress = Progress(current="reading the images")
    with TemporaryDirectory(prefix="florilegium-try-") as scratch:
        prepared = prepare_trial(
            stage,
            images,
            scratch=Path(scratch),
            config=loaded,
            overrides=overrides or (),
            annotations=annotations,
            plugin_path=plugin_path or (),
        )
        _make(folder)
        warn(prepared.remarks)
        for node in prepared.selection.graph.nodes:
            if caveat := node.stage.caveat():
                warn([f"{node.name} has {caveat}: its annotations are worth nothing"])
        with shown(progress):
            trial = run_trial(prepared, on_step=lambda step: setattr(progress, "current", step))
    pictures = _drawn(trial, folder)
    if as_json:
        out.say(json_text(to_json(trial, pictures)))
    else:
        _print(trial, pictures)
    if trial.failures:
        raise typer.Exit(1)


def _loaded(path: Path | None) -> RunConfig | None:
    """Return the config to take stages from; of a refinement, that of its first round."""
    from florilegium.pipelines.commands.loading import load

    return load(path, overrides=None, no_plugins=False).run if path else None


def _make(folder: Path) -> None:
    """Make the folder of the pictures, before a stage is asked and perhaps paid.

    Raises:
        UsageError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output {folder} cannot be made ({error.strerror}): choose another folder"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output {folder} cannot be written: choose another folder")


def _drawn(trial: Trial, folder: Path) -> dict[str, Path]:
    """Write a picture of each image that did not fail; return them by the key of the image."""
    from florilegium.pipelines.trial.picture import draw

    pictures = {}
    for image in trial.images:
        if image.data is not None and not image.failure and not trial.is_about_samples(image):
            pictures[image.key] = path = folder / f"{image.key}.{trial.node.name}.png"
            draw(image.data, image.rows).save(path)
    return pictures


def _print(trial: Trial, pictures: dict[str, Path]) -> None:
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.trial.table import (
        cost_lines,
        costs_table,
        failure_lines,
        image_table,
        sample_line,
    )

    for image in trial.images:
        if image.failure:
            out.say(image.name, style="bold")
            for line in failure_lines(image.failure):
                out.say(line)
        elif trial.is_about_samples(image):
            out.say(sample_line(image))
        elif image.rows:
            print_table(out, image_table(image, trial.node))
        else:
            out.say(f"{image.name}: nothing found")
        if image.key in pictures:
            out.say(f"picture  {pictures[image.key]}")
        out.say("")
    print_table(out, costs_table(trial))
    for line in cost_lines(trial):
        out.say(line)
    failed = f", {len(trial.failures)} failed" if trial.failures else ""
    out.say(f"{counted(len(trial.images), 'image')}{failed}")
