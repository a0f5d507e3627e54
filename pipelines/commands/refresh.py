"""The command that brings a dataset up to date on a schedule: `refresh`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.commands.build import prepared, print_summary
from florilegium.pipelines.commands.options import (
    Check,
    ConfigFile,
    DryRun,
    MaxDeadLetterShare,
    NoPlugins,
    OutputOption,
    Overrides,
    PlanFile,
    PluginPath,
    Replace,
    RetryDeadLetters,
    RunnerOption,
    SourceOption,
    Verbose,
    err,
    out,
    warn,
)
from florilegium.pipelines.terminal.exit_codes import ExitCode

if TYPE_CHECKING:
    from florilegium.pipelines.dataset.refreshed import Refreshed


def refresh(
    config: ConfigFile,
    source: SourceOption = None,
    output: OutputOption = None,
    runner: RunnerOption = None,
    overrides: Overrides = None,
    plan_file: PlanFile = None,
    dry_run: DryRun = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Publish the version that was held back.")
    ] = False,
    max_dead_letter_share: MaxDeadLetterShare = None,
    retry_dead_letters: RetryDeadLetters = False,
    replace: Replace = False,
    check: Check = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
    verbose: Verbose = False,
) -> None:
    """Bring a dataset up to date: build what changed, and publish it unless it exceeds a limit."""
    from florilegium.engine.execution.losses import refuse_losses
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.dataset.files import HELD_BACK
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refresh.options import refuse_commands
    from florilegium.pipelines.refresh.refresh import refresh_dataset
    from florilegium.pipelines.terminal.verbose import log_shown

    loaded = load(
        config,
        overrides=overrides,
        runner=runner,
        plan_file=plan_file,
        no_plugins=no_plugins,
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    if isinstance(loaded.config, RefineConfig):
        raise UsageError(
            f"{config} describes a refinement, and `refresh` makes no rounds: give a config "
            f"without `refine`, or run `florilegium refine {config}`, which takes in what is new"
        )
    if no_plugins:
        refuse_commands(loaded.refresh)
    run = prepared(loaded.config, is_dry=dry_run)
    if run is None:
        return
    if accept and not run.output.exists(HELD_BACK):
        warn(["no version is held back: --accept has no meaning, the limits hold"])
    with log_shown(verbose):
        finished = refresh_dataset(
            run,
            loaded.refresh,
            accept=accept,
            retry=retry_dead_letters,
            replace=replace,
            check=check,
            on_problem=lambda problem: warn([problem]),
        )
    record = finished.record
    if record.outcome == "held_back":
        _print_changes(record)
        _print_held_back(record, config, run.output.url)
        if accept:
            err.say("this is another one than the version that was held back before: look again")
        raise typer.Exit(ExitCode.HELD_BACK)
    print_summary(finished.manifest, run.output.url)
    if record.outcome == "nothing":
        out.say("nothing is new: the dataset is as it was")
        return
    _print_changes(record)
    refuse_losses(finished.manifest, run.config.max_dead_letter_share)


def _print_changes(record: Refreshed) -> None:
    """Print what a version changes, task by task."""
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.refresh.table import change_lines, changes_table

    print_table(out, changes_table(record))
    for line in change_lines(record):
        out.say(line)


def _print_held_back(record: Refreshed, config: Path, url: str) -> None:
    """Print every limit that is exceeded, and what to do."""
    from florilegium.pipelines.dataset.files import HELD_BACK_PAGE

    exceeded = counted(len(record.exceeded), "limit")
    lines = [
        f"the new version is held back, it exceeds {exceeded}; the current one stays:",
        *(f"  {one.line}" for one in record.exceeded),
        *_takedown_lines(record),
        f"look at {url}/{HELD_BACK_PAGE}; then publish it with `florilegium refresh "
        f"{config} --accept`, which repeats no work, or mend the source or the stage, or raise the "
        f"limit under `refresh.limits`, and refresh again",
    ]
    err.error("\n".join(lines))


def _takedown_lines(record: Refreshed) -> Iterator[str]:
    if record.images.taken_down:
        images = counted(record.images.taken_down, "image")
        yield f"{images} to be taken down stay in the current version until a new one is published"
