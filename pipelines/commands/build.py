"""Commands that make a dataset: build, and plan what a build will cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    SourceOption,
    Verbose,
    given,
    out,
)

if TYPE_CHECKING:
    from engine.results.manifest import Manifest


def build(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    runner: Annotated[
        str | None, typer.Option(help="`ray`, `local` (one worker process), `in_process`.")
    ] = None,
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
    from engine.execution.run import prepare
    from engine.planning.config import RunConfig, load_document, validated
    from engine.planning.plugins import modules_of, refuse_plugins
    from pipelines.build import build_dataset
    from pipelines.commands.dry_run import dry_run_lines, refuse_problems
    from pipelines.commands.tables import plan_table, print_table
    from pipelines.terminal.verbose import log_shown

    runners = [f"runner.kind={runner}"] if runner else []
    changes = given(
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    changed = [*(overrides or []), *runners]
    document = load_document(config, changes=changes, overrides=changed, plan=plan_file)
    if "refine" in document:
        raise UsageError(f"{config} describes a refinement: `florilegium refine {config}` runs it")
    loaded = validated(RunConfig, document, where=str(config))
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded))
    run = prepare(loaded, is_dry=dry_run, imports_modules=not dry_run)
    if dry_run:
        print_table(out, plan_table(run))
        for line in dry_run_lines(run):
            out.say(line)
        refuse_problems(run)
        return
    with log_shown(verbose):
        manifest = build_dataset(run, retry=retry_dead_letters, replace=replace, check=check)
    _print_summary(manifest, run.output.url)
    refuse_losses(manifest, run.config.max_dead_letter_share)


def _print_summary(manifest: Manifest, url: str) -> None:
    """Print what a build made of the inputs, and where."""
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


def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/fld5b.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    samples: Annotated[int, typer.Option(min=1, help="Images to measure with.")] = 32,
    save: Annotated[
        Path | None, typer.Option(help="Write the pools here, for `build --plan`.")
    ] = None,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
) -> None:
    """Measure each stage on a few images, divide the cluster among them, predict time and bytes."""
    from engine.execution.progress import Progress
    from engine.execution.run import prepare
    from engine.planning.config import RunConfig, load_config
    from engine.planning.plugins import modules_of, refuse_plugins
    from pipelines.commands.tables import print_table
    from pipelines.cost.allocation import allocate
    from pipelines.cost.measure import measure
    from pipelines.cost.table import costs_table, plan_file, pools_table, prediction
    from pipelines.terminal.progress import shown

    if save and not save.parent.is_dir():
        raise UsageError(f"the folder {save.parent} for the plan does not exist: create it first")
    changes = given(source=source, output=output, plugin_path=plugin_path)
    loaded: RunConfig = load_config(config, changes=changes, overrides=overrides or [])
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded))
    run = prepare(loaded)
    progress = Progress(current="reading a sample")
    with shown(progress):
        measured = measure(run, samples, on_stage=partial(setattr, progress, "current"))
    print_table(out, costs_table(measured))
    allocation = allocate(measured, cpu_workers=run.config.runner.workers)
    print_table(out, pools_table(allocation))
    for line in prediction(measured, allocation):
        out.say(line)
    if save:
        save.write_text(plan_file(measured, allocation), encoding="utf-8")
        out.say(f"plan       {save}")
