"""Commands that make a dataset: build, and plan what a build will cost."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
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
    out,
    warn,
)

if TYPE_CHECKING:
    from florilegium.engine.execution.preparation import Run
    from florilegium.engine.planning.config import RunConfig
    from florilegium.engine.planning.slices import Slice
    from florilegium.engine.results.manifest import Manifest
    from florilegium.pipelines.cost.allocation import Allocation
    from florilegium.pipelines.cost.measure import Measured

NOT_REFINED = (
    "no round of refinement: merged by votes, and without students; "
    "`florilegium refine {config}` goes on with the same answers"
)


def build(
    config: ConfigFile,
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
    part: Annotated[
        str | None,
        typer.Option(
            "--slice", metavar="I/N", help="Build the shards of slice I of N only, 1/16 to 16/16."
        ),
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Put the dataset in place when all slices are built.")
    ] = False,
    ends_slices: Annotated[
        bool, typer.Option("--drop-slices", help="End slices under way; keep finished shards.")
    ] = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
    verbose: Verbose = False,
) -> None:
    """Build a dataset, or bring it up to date: finished work is not repeated."""
    from florilegium.engine.execution.apart import start_ahead
    from florilegium.engine.planning.slices import Slice
    from florilegium.pipelines.commands.loading import load

    own = Slice.parse(part) if part else None
    _refuse_together(
        {"--slice": own, "--finish": finish, "--drop-slices": ends_slices},
        {"--retry-dead-letters": retry_dead_letters, "--replace": replace, "--dry-run": dry_run},
    )
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
    ).config
    has_workers = not (dry_run or finish or ends_slices)
    if has_workers and (loaded.runner.kind == "local" or loaded.runner.is_open):
        with suppress(OSError):  # the first worker starts it, or reports why it cannot be
            start_ahead()  # before what follows is imported

    from florilegium.engine.execution.losses import refuse_losses
    from florilegium.pipelines.build import build_dataset, build_slice, finish_slices
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.terminal.verbose import log_shown

    notes: tuple[str, ...] = ()
    if isinstance(loaded, RefineConfig):
        loaded, notes = runnable(loaded, config), (NOT_REFINED.format(config=config),)
    if ends_slices:
        _drop_slices(loaded.output)
        return
    run = prepared(loaded, notes, is_dry=dry_run)
    if run is None:
        return
    with log_shown(verbose):
        if own:
            manifest = build_slice(run, own, retry=retry_dead_letters, replace=replace, check=check)
        elif finish:
            manifest = finish_slices(run, check=check)
        else:
            manifest = build_dataset(run, retry=retry_dead_letters, replace=replace, check=check)
    if manifest is None:
        out.say(f"nothing is new: {run.output.url} is finished")
        return
    print_summary(manifest, run.output.url, own)
    for line in notes:
        out.say(line)
    refuse_losses(manifest, run.config.max_dead_letter_share)


def _refuse_together(ways: dict[str, object], options: dict[str, object]) -> None:
    """Refuse more than one way to build by slices, and options that have no meaning at the end.

    Raises:
        UsageError: with the options that do not go together.
    """
    chosen = [name for name, is_on in ways.items() if is_on]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} do not go together: give one")
    useless = [name for name, is_on in options.items() if is_on]
    if chosen and chosen != ["--slice"] and useless:
        raise UsageError(
            f"{chosen[0]} builds no shard, so {useless[0]} has no meaning: give it to --slice; "
            f"`florilegium status DIR` shows what is missing"
        )


def _drop_slices(output: str) -> None:
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.build import drop_slices

    if drop_slices(Folder(output)):
        out.say(f"the slices of {output} have ended; the next build takes over what is finished")
    else:
        out.say(f"{output} is not being built in slices")


def prepared(config: RunConfig, notes: Iterable[str] = (), *, is_dry: bool) -> Run | None:
    """Prepare a run; of a dry one print the plan and the notes instead."""
    from florilegium.engine.execution.preparation import prepare
    from florilegium.pipelines.commands.dry_run import dry_run_lines, refuse_problems
    from florilegium.pipelines.commands.services import loopback_warnings
    from florilegium.pipelines.commands.tables import plan_table, print_table

    run = prepare(config, is_dry=is_dry, imports_modules=not is_dry)
    warn(loopback_warnings(run))
    if not is_dry:
        return run
    print_table(out, plan_table(run))
    for line in (*dry_run_lines(run), *notes):
        out.say(line)
    refuse_problems(run)
    return None


def print_summary(manifest: Manifest, url: str, part: Slice | None = None) -> None:
    """Print what a build, or a slice of it, made of the inputs, and where."""
    from florilegium.engine.execution.losses import faults, lines_of
    from florilegium.engine.sources.takedown import TAKEN_DOWN
    from florilegium.pipelines.commands.tables import print_table, totals_table

    totals = manifest.totals
    print_table(out, totals_table(totals))
    became = f"{counted(totals.samples, 'sample')} + {counted(totals.dead_letters, 'dead letter')}"
    out.say(f"{counted(totals.inputs, 'image')} = {became}")
    letters = list(faults(letter for _, letter in manifest.dead_letters))
    for line in (*lines_of(letters), *manifest.remarks):
        out.say(line)
    if totals.sample_drops:
        reasons = ", ".join(f"{name} {count}" for name, count in totals.sample_drops.items())
        dropped = counted(sum(totals.sample_drops.values()), "image")
        out.say(f"dropped  {dropped} by sample filters: {reasons}")
    if taken_down := totals.failures.get(TAKEN_DOWN, 0):
        listed = counted(taken_down, "image is", "images are")
        out.say(f"taken down: {listed} on the takedown list; {url}/takedowns has the receipts")
    if part:
        shards = counted(len(manifest.shards), "shard")
        out.say(f"slice    {part} of {url}: {shards}; `--finish` when all slices are built")
        return
    out.say(f"dataset  {url}")
    out.say(f"report   {url}/report.html")


def runnable(config: RunConfig, given: object) -> RunConfig:
    """Return a config as a run, of a refinement round 0; `given` names it in errors.

    Raises:
        UsageError: the output was refined: a build would put round 0 in place of a better one.
    """
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.dataset.files import LINEAGE
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.stages import without_audit

    if not isinstance(config, RefineConfig):
        return config
    loaded = without_audit(config)
    if Folder(loaded.output).exists(LINEAGE):
        raise UsageError(
            f"{loaded.output} was refined, and a build would put round 0 in its place: "
            f"`florilegium refine {given}` goes on with it, `--output` names another folder"
        )
    return loaded


def plan(
    config: ConfigFile,
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
    """Measure each stage on a few images, divide the cluster among them, predict time and bytes.

    A refinement is predicted phase by phase.
    """
    from florilegium.engine.execution.progress import Progress
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.commands.services import loopback_warnings
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.cost.allocation import allocate
    from florilegium.pipelines.cost.measure import measure
    from florilegium.pipelines.cost.table import costs_table, plan_file, pools_table
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.terminal.progress import shown

    if save and not save.parent.is_dir():
        raise UsageError(f"the folder {save.parent} for the plan does not exist: create it first")
    loaded = load(
        config,
        overrides=overrides,
        no_plugins=no_plugins,
        source=source,
        output=output,
        plugin_path=plugin_path,
    ).config
    students = loaded.refine.students if isinstance(loaded, RefineConfig) else {}
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
    from florilegium.engine.execution.preparation import prepare
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.loop import check

    if isinstance(config, RefineConfig):
        return check(config)
    run = prepare(config)
    return run, run


def _print_prediction(
    config: RunConfig, first: Run, measured: Measured, allocation: Allocation
) -> None:
    """Print what the whole source will take; of a refinement phase by phase."""
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.cost.table import machine_lines, output_line, prediction, source_line
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.phases import distillation_lines, phases, phases_table

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
