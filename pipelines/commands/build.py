"""Commands that make a dataset: build, and plan what a build will cost."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.counted import counted
from engine.core.errors import UsageError
from pipelines.commands.options import (
    Check,
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
    document_of,
    given,
    out,
    warn,
)

if TYPE_CHECKING:
    from engine.execution.run import Run
    from engine.planning.config import RunConfig
    from engine.results.manifest import Manifest
    from pipelines.cost.allocation import Allocation
    from pipelines.cost.measure import Measured

NOT_REFINED = (
    "no round of refinement: merged by votes, and without students; "
    "`florilegium refine {config}` goes on with the same answers"
)


def build(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    runner: RunnerOption = None,
    overrides: Overrides = None,
    plan_file: PlanFile = None,
    dry_run: DryRun = False,
    max_dead_letter_share: MaxDeadLetterShare = None,
    retry_dead_letters: RetryDeadLetters = False,
    replace: Replace = False,
    check: Check = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
    verbose: Verbose = False,
) -> None:
    """Build a dataset, or bring it up to date: finished work is not repeated."""
    from engine.execution.losses import refuse_losses
    from engine.planning.plugins import modules_of, refuse_plugins
    from pipelines.build import build_dataset
    from pipelines.refresh.options import load_run
    from pipelines.terminal.verbose import log_shown

    document = document_of(
        config,
        source=source,
        output=output,
        runner=runner,
        overrides=overrides,
        plan_file=plan_file,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    notes: tuple[str, ...] = ()
    if "refine" in document:
        loaded, notes = _round_0(document, config), (NOT_REFINED.format(config=config),)
    else:
        loaded, _ = load_run(document, where=str(config))
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded))
    run = prepared(loaded, notes, is_dry=dry_run)
    if run is None:
        return
    with log_shown(verbose):
        manifest = build_dataset(run, retry=retry_dead_letters, replace=replace, check=check)
    print_summary(manifest, run.output.url)
    for line in notes:
        out.say(line)
    refuse_losses(manifest, run.config.max_dead_letter_share)


def prepared(config: RunConfig, notes: Iterable[str] = (), *, is_dry: bool) -> Run | None:
    """Prepare a run; of a dry one print the plan and the notes instead."""
    from engine.execution.run import prepare
    from pipelines.commands.dry_run import dry_run_lines, refuse_problems
    from pipelines.commands.services import loopback_warnings
    from pipelines.commands.tables import plan_table, print_table

    run = prepare(config, is_dry=is_dry, imports_modules=not is_dry)
    warn(loopback_warnings(run))
    if not is_dry:
        return run
    print_table(out, plan_table(run))
    for line in (*dry_run_lines(run), *notes):
        out.say(line)
    refuse_problems(run)
    return None


def print_summary(manifest: Manifest, url: str) -> None:
    """Print what a run made of the inputs, and where."""
    from engine.execution.losses import lines_of
    from pipelines.commands.tables import print_table, totals_table

    totals = manifest.totals
    print_table(out, totals_table(totals))
    became = f"{counted(totals.samples, 'sample')} + {counted(totals.dead_letters, 'dead letter')}"
    out.say(f"{counted(totals.inputs, 'image')} = {became}")
    for line in (*lines_of(letter for _, letter in manifest.dead_letters), *manifest.remarks):
        out.say(line)
    out.say(f"dataset  {url}")
    out.say(f"report   {url}/report.html")


def _round_0(document: dict[str, Any], config: Path) -> RunConfig:
    """Return round 0 of a refinement as a run.

    Raises:
        UsageError: the output was refined: a build would put round 0 in place of a better one.
    """
    from engine.planning.config import validated
    from engine.storage.folder import Folder
    from pipelines.dataset.files import LINEAGE
    from pipelines.refine.config import RefineConfig
    from pipelines.refine.stages import without_audit

    loaded = without_audit(validated(RefineConfig, document, where=str(config)))
    if Folder(loaded.output).exists(LINEAGE):
        raise UsageError(
            f"{loaded.output} was refined, and a build would put round 0 in its place: "
            f"`florilegium refine {config}` goes on with it, `--output` names another folder"
        )
    return loaded


def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/fld5b.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    samples: Annotated[int, typer.Option(min=1, help="Images to measure with.")] = 32,
    save: Annotated[
        Path | None, typer.Option(help="Write the pools here, for `--plan` of build and refine.")
    ] = None,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
) -> None:
    """Measure each stage on a few images, divide the cluster among them, predict time and bytes; of
    a refinement phase by phase."""
    from engine.execution.progress import Progress
    from engine.planning.config import load_document, validated
    from engine.planning.plugins import modules_of, refuse_plugins
    from pipelines.commands.services import loopback_warnings
    from pipelines.commands.tables import print_table
    from pipelines.cost.allocation import allocate
    from pipelines.cost.measure import measure
    from pipelines.cost.table import costs_table, plan_file, pools_table
    from pipelines.refine.config import RefineConfig
    from pipelines.refresh.options import load_run
    from pipelines.terminal.progress import shown

    if save and not save.parent.is_dir():
        raise UsageError(f"the folder {save.parent} for the plan does not exist: create it first")
    changes = given(source=source, output=output, plugin_path=plugin_path)
    document = load_document(config, changes=changes, overrides=overrides or [])
    loaded: RunConfig
    if "refine" in document:
        loaded = validated(RefineConfig, document, where=str(config))
    else:
        loaded, _ = load_run(document, where=str(config))
    students = loaded.refine.students if isinstance(loaded, RefineConfig) else {}
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded, ("refine.students", students)))
    first, run = _runs_of(loaded)
    warn(loopback_warnings(run))
    progress = Progress(current="reading a sample")
    with shown(progress):
        measured = measure(run, samples, on_stage=partial(setattr, progress, "current"))
    print_table(out, costs_table(measured))
    allocation = allocate(measured, cpu_workers=run.config.runner.workers)
    print_table(out, pools_table(allocation))
    _print_prediction(loaded, first, measured, allocation)
    if save:
        text = plan_file(measured, allocation, students=students)
        save.write_text(text, encoding="utf-8")
        out.say(f"plan       {save}")


def _runs_of(config: RunConfig) -> tuple[Run, Run]:
    """Return the first run of a config and the one that has all its stages, to be measured."""
    from engine.execution.run import prepare
    from pipelines.refine.config import RefineConfig
    from pipelines.refine.loop import check

    if isinstance(config, RefineConfig):
        return check(config)
    run = prepare(config)
    return run, run


def _print_prediction(
    config: RunConfig, first: Run, measured: Measured, allocation: Allocation
) -> None:
    """Print what the whole source will take; of a refinement phase by phase."""
    from pipelines.commands.tables import print_table
    from pipelines.cost.table import machine_lines, output_line, prediction, source_line
    from pipelines.refine.config import RefineConfig
    from pipelines.refine.phases import distillation_lines, phases, phases_table

    lines = prediction(measured, allocation)
    if isinstance(config, RefineConfig):
        found = phases(measured, config.refine, first=first.graph, later=measured.graph)
        print_table(out, phases_table(list(found)))
        lines = [
            *machine_lines(measured),
            source_line(measured),
            f"{output_line(measured)}, each round",
            *distillation_lines(measured),
        ]
    for line in lines:
        out.say(line)
