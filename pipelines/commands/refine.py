"""Commands around refinement: refine, train, score, diff."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from florilegium.engine.core.counted import counted
from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import (
    ConfigFile,
    Directory,
    DryRun,
    MaxDeadLetterShare,
    NoPlugins,
    OutputOption,
    Overrides,
    PlanFile,
    PluginPath,
    SourceOption,
    Verbose,
    local_folder,
    out,
    overrides_like,
    warn,
)


class Until(StrEnum):
    """Where a refinement can stop early."""

    CANDIDATES = "candidates"


def refine(
    config: ConfigFile,
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    plan_file: PlanFile = None,
    max_dead_letter_share: MaxDeadLetterShare = None,
    until: Annotated[
        Until | None,
        typer.Option(
            help="Stop early: `candidates` writes the annotations to audit, with a file to fill in."
        ),
    ] = None,
    dry_run: DryRun = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
    verbose: Verbose = False,
) -> None:
    """Train Florence-2 on the labels, let it relabel, merge, measure; round after round."""
    from florilegium.engine.execution.preparation import prepare
    from florilegium.pipelines.commands.dry_run import dry_run_lines, refuse_problems
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.commands.services import loopback_warnings
    from florilegium.pipelines.commands.tables import plan_table, print_table
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.loop import check
    from florilegium.pipelines.refine.loop import refine as run_loop
    from florilegium.pipelines.refine.plan import plan_lines
    from florilegium.pipelines.refine.stages import round_config
    from florilegium.pipelines.refine.table import audit_lines, round_line
    from florilegium.pipelines.refine.to_audit import prepare_audit
    from florilegium.pipelines.terminal.verbose import log_shown

    loaded = load(
        config,
        overrides=overrides,
        plan_file=plan_file,
        no_plugins=no_plugins,
        is_refined=True,
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    ).config
    assert isinstance(loaded, RefineConfig)
    first = prepare(round_config(loaded, output=loaded.output), is_dry=True, imports_modules=False)
    warn(loopback_warnings(first))
    if dry_run:
        first, later = check(loaded, is_dry=True)
        print_table(out, plan_table(first))
        for line in (*plan_lines(loaded, first, later), *dry_run_lines(later)):
            out.say(line)
        refuse_problems(first)
        return
    if until is None:
        with log_shown(verbose):
            rounds = run_loop(loaded, finished=lambda one: out.say(round_line(one)))
        promoted = max(one.number for one in rounds if one.is_promoted)
        out.say(f"dataset  {loaded.output}, round {promoted}")
        out.say(f"report   {loaded.output}/report.html")
    if until is Until.CANDIDATES or not (loaded.refine.rounds or loaded.refine.audit):
        for line in audit_lines(prepare_audit(loaded)):
            out.say(line)


def train(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a finished dataset.")],
    config: ConfigFile,
    output: Annotated[
        Path, typer.Option(parser=local_folder, metavar="PATH", help="Write the checkpoint here.")
    ],
    overrides: Annotated[list[str] | None, overrides_like("steps=500, lora.r=16")] = None,
    no_plugins: NoPlugins = False,  # the config of a training names no class
) -> None:
    """Train Florence-2 on a finished dataset, its own tasks or one of yours."""
    from florilegium.engine.execution.progress import Progress
    from florilegium.engine.planning.config import load_document, validated
    from florilegium.pipelines.commands.shipped import config_path
    from florilegium.pipelines.terminal.progress import shown
    from florilegium.pipelines.training.config import TrainConfig
    from florilegium.pipelines.training.survey import untrained
    from florilegium.pipelines.training.trainer import train as run_training

    document = load_document(config_path(config), overrides=overrides or [])
    options = validated(TrainConfig, document, where=str(config))
    progress = Progress(current="starting")
    with shown(progress):
        show = partial(progress.train, "training")
        result = run_training(
            run,
            options,
            output,
            on_progress=show,
            on_survey=lambda found: warn(untrained(found.without_data)),
            on_wait=partial(setattr, progress, "waiting"),
            on_start=partial(progress.prepare, "training"),
            on_note=progress.notes.append,
        )
    for task, loss in result.losses.items():
        out.say(f"{task:30} {counted(result.examples[task], 'example'):>18}, loss {loss:.4f}")
    warn(untrained(task for task in options.chosen if task not in result.examples))
    out.say(f"checkpoint  {output}")


def score(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Compare the merge rules on the last round's voters.")
    ] = False,
) -> None:
    """Measure a dataset of drawn scenes against its ground truth, round by round if refined."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.refine.scores import score_rounds, score_rules
    from florilegium.pipelines.shape_world.score.table import score_table

    scores = (score_rules if rules else score_rounds)(Folder(directory))
    if as_json:
        found = {name: one.to_json() for name, one in scores.items()}
        out.say(json_text(found))
    else:
        print_table(out, score_table(scores))


def diff(
    directory: Directory,
    before: Annotated[int, typer.Argument(metavar="ROUND_A", help="A round's number.")],
    after: Annotated[int, typer.Argument(metavar="ROUND_B", help="The other round's number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which labels were added, changed and dropped between two rounds of a refinement."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.diff.difference import diff_rounds
    from florilegium.pipelines.diff.table import diff_lines, diff_table

    found = diff_rounds(Folder(directory), before, after)
    if as_json:
        out.say(json_text(found.to_json()))
    else:
        print_table(out, diff_table(found))
        for line in diff_lines(found):
            out.say(line)
