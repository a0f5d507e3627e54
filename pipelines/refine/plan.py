"""The plan of a refinement as text: `florilegium refine CONFIG --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.counted import counted
from florilegium.engine.execution.preparation import Run
from florilegium.pipelines.dataset.lineage import AGREEMENT, AUDIT, TRUTH
from florilegium.pipelines.merge.stage import Merge
from florilegium.pipelines.refine.audits import is_missing
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.stages import levels
from florilegium.pipelines.training.config import TrainConfig


def plan_lines(config: RefineConfig, first: Run, later: Run) -> Iterator[str]:
    """Yield what the loop will do, after the table of round 0.

    `first` is the run of round 0, `later` that of a round with students.
    """
    options, train = config.refine, config.refine.train
    yield "round 0    the specialists label, the merge stages merge"
    yield f"audit      {_audit(config, first)}"
    yield f"quality    measured by {_measure(config)}"
    if not options.rounds:
        yield "rounds     none with students (refine.rounds = 0)"
        return
    rounds = f"{counted(options.rounds, 'round')} with students at most"
    yield f"rounds     {rounds}; fewer when one gains less than {options.margin:g}"
    parallel = f", {options.students_at_once} in parallel" if options.students_at_once > 1 else ""
    split = ", each without one fold of the samples" if options.folds > 1 else ""
    yield f"students   {options.folds} a round{split}{parallel}"
    yield f"           trained from {train.model} on {_trained(train)}"
    for name in options.students:
        yield f"           {name} {_joins(later, name)}"
        if name in options.fine_tune:
            yield f"           {name} is fine-tuned on {_trained(options.tuning(name))}"


def _trained(train: TrainConfig) -> str:
    """Describe a training: its tasks, how long, and on which samples."""
    batch = train.batch_size * train.gradient_accumulation * max(train.workers, 1)
    steps = f"{counted(train.steps, 'step')} of {counted(batch, 'example')}"
    share = f", with {100 * train.sample_share:g}% of the samples" * (train.sample_share < 1)
    return f"{', '.join(train.chosen)}: {steps}{share}"


def _audit(config: RefineConfig, first: Run) -> str:
    audit = config.refine.audit
    if not levels(first.graph):
        return "none is needed: no merge stage takes a calibration"
    if not audit:
        return "none: merged by votes; `refine --until candidates` makes a file to fill in"
    if audit == TRUTH:
        return f"by truth, {counted(config.refine.audit_samples, 'sample')}"
    if is_missing(audit):
        return f"{audit}, not here yet: `refine --until candidates` makes a file to fill in"
    return audit


def _measure(config: RefineConfig) -> str:
    if config.refine.measure != "auto":
        return config.refine.measure
    audit = config.refine.audit
    return (TRUTH if audit == TRUTH else AUDIT) if audit else f"{AGREEMENT} of the voters"


def _joins(later: Run, student: str) -> str:
    """Describe which tasks a student produces, and which merge stages read it."""
    nodes = later.graph.specialists
    tasks = next(node.stage.produces for node in nodes if node.name == student)
    merges = [n.name for n in nodes if isinstance(n.stage, Merge) and student in n.upstream]
    return f"produces {', '.join(tasks)}, merged by {', '.join(merges)}"
