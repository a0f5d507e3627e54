"""The loop: train, relabel, merge, measure, decide; round after round.

Every step writes a file when it is done, so a killed loop resumes: a student writes
`training.json`, a dataset its layers and shards. The loop does not read
`round.json`; `verify` holds it against `refine.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import MissingPackage
from florilegium.engine.execution.observer import RunFinished
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.ray_runner import ray_started
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.registry import require
from florilegium.engine.planning.source_opening import urls_of
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.dataset.lineage import (
    ROUND,
    TRUTH,
    Round,
    Student,
    gain_of,
    round_folder,
    student_folder,
    write_lineage,
)
from florilegium.pipelines.merge.calibration import read_calibration
from florilegium.pipelines.merge.stage import Merge
from florilegium.pipelines.refine.audits import auditor_of, is_missing
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.labelling import COMMAND, LabelledRound, label
from florilegium.pipelines.refine.quality import measure
from florilegium.pipelines.refine.stages import Stages, round_config, with_students
from florilegium.pipelines.shape_world.score.measure import truth_of
from florilegium.pipelines.telemetry.observers import Parent, command, watched
from florilegium.pipelines.terminal.progress import shown
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.trainer import train

_PACKAGES = (
    *("accelerate", "faster_coco_eval", "jiwer", "pandas", "peft", "pycocoevalcap"),
    *("rapidfuzz", "scipy", "sklearn", "tensorboard"),
)
"""What the loop imports beyond the base installation; Ray Train imports pandas."""
FIRST = "it is the first round"
BETTER = "the mean quality gains {gain:.4f} on round {parent}"
NOT_BETTER = "the mean quality changes by {gain:+.4f}, so round {parent} stays promoted"


def refine(
    config: RefineConfig, *, finished: Callable[[Round], None] = lambda _: None
) -> list[Round]:
    """Refine a dataset, or resume a stopped loop; return all rounds.

    It ends after `refine.rounds` rounds, or with a round that gains less than `refine.margin`, even
    when that one is promoted. The dataset of the promoted round is put into the output itself.
    `finished` is called with each round.

    Raises:
        UsageError: the config cannot be run, or the audit is about other annotations.
        OutputInUse: another command writes the output.
        RunError: a training or a relabelling failed.
    """
    needs_ray = config.runner.may_be_ray or config.refine.train.workers > 0
    check(config)  # before anything is written
    with (
        writing(Folder(config.output)) as lease,
        ray_started(config.runner) if needs_ray else nullcontext(),
        command(COMMAND, config) as parent,
    ):
        loop = _Loop(config, parent)
        best = loop.first()
        rounds = [best]
        finished(best)
        while len(rounds) <= config.refine.rounds:
            one = loop.next(len(rounds), best)
            rounds.append(one)
            finished(one)
            gain = gain_of(best.quality, one.quality)
            best = one if one.is_promoted else best
            if gain < config.refine.margin:
                break
        loop.promote(best, rounds, before_switch=lease.check)
    return rounds


def check(config: RefineConfig, *, is_dry: bool = False) -> tuple[Run, Run]:
    """Refuse a config that cannot run, students included, before anything starts.

    With `is_dry`, models and the audit may be missing, and modules that the config names are not
    imported.

    Returns:
        The runs of round 0 and of a round with students.

    Raises:
        UsageError: the message says what to change.
    """
    prepared = partial(prepare, is_dry=is_dry, imports_modules=not is_dry)
    _refuse_absent_packages(config, imports_modules=not is_dry)
    config.refuse_remote_output()
    first = prepared(round_config(config, output=config.output))
    if config.refine.measure == TRUTH:
        truth_of(urls_of(config.source))
    if not is_dry or not is_missing(config.refine.audit):
        auditor_of(config)
    start = [config.refine.train.model] * config.refine.folds
    stages = with_students(config, start, 1)
    return first, prepared(round_config(config, output=config.output, stages=stages))


def _refuse_absent_packages(config: RefineConfig, *, imports_modules: bool) -> None:
    """Refuse to start if a package for round 0, training, merging or scoring is missing.

    Raises:
        MissingPackage: with the pip line that installs all of them.
    """
    round_0 = round_config(config, output=config.output)
    graph = prepare(round_0, is_dry=True, imports_modules=imports_modules).graph
    absent = list(graph.absent)
    try:
        require("refinement", _PACKAGES, extra="refine")
    except MissingPackage as error:
        absent.append(error)
    if absent:
        raise MissingPackage.all_of([*absent, *graph.awaited])


class _Loop:
    """The steps of a round, in their order."""

    def __init__(self, config: RefineConfig, parent: Parent) -> None:
        self._config = config
        self._parent = parent
        self._output = Folder(config.output)
        self._auditor = auditor_of(config)
        self._labels: dict[int, LabelledRound] = {}

    def first(self) -> Round:
        """Label the source with the specialists alone."""
        return self._decide(0, parent=None, students=())

    def next(self, number: int, parent: Round) -> Round:
        """Train students on the labels of the parent, relabel, merge, measure, decide."""
        return self._decide(number, parent=parent, students=self._train(number, parent))

    def promote(
        self, best: Round, rounds: Sequence[Round], *, before_switch: Callable[[], None]
    ) -> None:
        """Publish the dataset of the best round as the output; all its layers exist already."""
        config = self._labels[best.number].run.config
        run = prepare(config.model_copy(update={"output": self._config.output}))
        progress = Progress(step=f"round {best.number} is promoted")
        with shown(progress), watched(run, progress, parent=self._parent) as observer:
            manifest = execute(run, progress, observer=observer)
            write_lineage(self._output, rounds)  # first: the report shows the rounds
            put_in_place(run, manifest, before_switch=before_switch)
            observer.observe(RunFinished(manifest=manifest))

    def _train(self, number: int, parent: Round) -> tuple[Student, ...]:
        """Train a student for each fold, on the samples of all other folds, and fine-tune it."""
        options = self._config.refine
        count = options.folds * (1 + len(options.fine_tune))
        progress = Progress(current="starting", step=f"round {number}, {counted(count, 'student')}")

        def trained(fold: int) -> list[Student]:
            is_warm = options.is_warm and parent.number > 0
            start = str(self._checkpoint(parent.number, fold)) if is_warm else ""
            students = [self._student(number, parent, options.train, fold, progress, start=start)]
            start = str(self._checkpoint(number, fold))
            for name in options.fine_tune:
                tuning = options.tuning(name)
                students.append(
                    self._student(number, parent, tuning, fold, progress, start=start, name=name)
                )
            return students

        with shown(progress):
            if options.students_at_once == 1:
                return tuple(chain.from_iterable(map(trained, range(options.folds))))
            threads = ThreadPoolExecutor(options.students_at_once)
            try:
                return tuple(chain.from_iterable(threads.map(trained, range(options.folds))))
            finally:  # after an interrupt, do not wait for the other students
                threads.shutdown(wait=False, cancel_futures=True)

    def _student(
        self,
        number: int,
        parent: Round,
        config: TrainConfig,
        fold: int,
        progress: Progress,
        *,
        start: str,
        name: str = "",
    ) -> Student:
        """Train one student; `start` is a checkpoint to start from, else that of the config."""
        if start:
            config = config.model_copy(update={"model": start, "revision": ""})
        folds = self._config.refine.folds
        shown_as = f"{name or 'student'} {fold}"
        result = train(
            round_folder(self._output, parent.number).url,
            config,
            self._checkpoint(number, fold, name),
            fold=fold if folds > 1 else None,
            folds=folds,
            on_progress=partial(progress.train, shown_as),
            on_start=partial(progress.prepare, shown_as),
            on_wait=partial(setattr, progress, "waiting"),
            on_note=progress.notes.append,
        )
        return Student(
            fold=fold, digest=result.digest, steps=result.steps, losses=result.losses, name=name
        )

    def _decide(self, number: int, *, parent: Round | None, students: Sequence[Student]) -> Round:
        """Label and measure a round, and promote it if it is better than its parent."""
        folder = round_folder(self._output, number)
        labels = label(
            self._config,
            folder,
            self._stages(number),
            self._auditor,
            step=f"round {number}",
            parent=self._parent,
        )
        self._labels[number] = labels
        with shown(Progress(step=f"round {number}", current="measuring")):
            quality = measure(self._config, folder, self._auditor)
        gain = gain_of(parent.quality if parent else {}, quality.by_kind)
        is_promoted = parent is None or gain > 0
        reason = (BETTER if is_promoted else NOT_BETTER) if parent else FIRST
        one = Round(
            number=number,
            parent=parent.number if parent else -1,
            recipe=labels.run.graph.recipe,
            students=tuple(students),
            merges=_merges(labels),
            measured_by=quality.measured_by,
            quality=quality.by_kind,
            audited=tuple(sorted(self._auditor.keys)) if self._auditor else (),
            is_promoted=is_promoted,
            reason=reason.format(gain=gain, parent=parent.number if parent else -1),
        )
        folder.publish(ROUND, one.to_json())
        return one

    def _stages(self, number: int) -> Stages:
        """Return the stages of a round, its students included."""
        if number == 0:
            return dict(self._config.specialists)
        tuned = {name: self._checkpoints(number, name) for name in self._config.refine.fine_tune}
        return with_students(self._config, self._checkpoints(number), number, fine_tuned=tuned)

    def _checkpoints(self, number: int, name: str = "") -> list[str]:
        folds = range(self._config.refine.folds)
        return [str(self._checkpoint(number, fold, name)) for fold in folds]

    def _checkpoint(self, number: int, fold: int, name: str = "") -> Path:
        return Path(round_folder(self._output, number).path(student_folder(fold, name)))


def _merges(labels: LabelledRound) -> dict[str, dict[str, Any]]:
    """Return for each merge stage its rule and its calibration, by task."""
    merges: dict[str, dict[str, Any]] = {}
    for node in labels.run.graph.specialists:
        if isinstance(node.stage, Merge):
            path = labels.calibrations.get(node.name)
            tasks = read_calibration(str(path)).model_dump(mode="json")["tasks"] if path else {}
            merges[node.name] = {"rule": node.stage.config.rule, "tasks": tasks}
    return merges
