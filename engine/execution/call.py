"""The answers so far about some samples, while stages run over them one after another.

Holds the pixels of the current window and the answers of all stages, and shows each stage only
what it reads and what passed its gate. A question whose answer is known is not asked. Knows nothing
of files, processes or shards on disk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import Picture, Sample, is_in_share
from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.answer import (
    BUDGET_EXHAUSTED,
    INPUT_FAILED,
    STAGE_TIMEOUT,
    Answer,
    ask,
)
from florilegium.engine.execution.timing import StageTiming, Stopwatch
from florilegium.engine.execution.watch import Doing, Watch
from florilegium.engine.planning.graph import Node, View
from florilegium.engine.results.comparison import Compared
from florilegium.engine.results.judging import passing
from florilegium.engine.results.layer import Layer, StageError, make_layer
from florilegium.engine.results.questions import (
    Asked,
    Known,
    Question,
    SampleQuestions,
    divided,
    passed,
    questions_of,
    shown,
)
from florilegium.engine.results.sample_judging import judge_samples
from florilegium.engine.results.shard import Shard, ShardBytes

StoredAnswers = Mapping[str, Mapping[int, Answer]]
"""By the name of the stage and the number of the sample."""
KnownAnswers = Mapping[str, Mapping[int, Known]]
"""What layers under other gates know, by the name of the stage and the number of the sample."""
_MAX_NAMED = 4


class WorkerCall:
    """The samples of one call, and all answers about them.

    `nodes` are those that the gates of the stages need, by name.
    """

    def __init__(
        self,
        shard: Shard,
        images: ShardBytes,
        stored: StoredAnswers,
        *,
        nodes: Mapping[str, Node[Any]] = MappingProxyType({}),
        known: KnownAnswers = MappingProxyType({}),
        compared: Mapping[str, Compared] = MappingProxyType({}),
        limits: Limits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._shard = shard
        self._images = images
        self._limits = limits or Limits()
        self._watch = watch or Watch()
        self._numbers: dict[str, int] = {}  # of the samples that were asked about, by key
        self._stored = stored
        self._answers: defaultdict[str, dict[int, Answer]] = defaultdict(dict)  # of this call
        self._nodes = nodes
        self._known = known
        self._compared = compared
        self._asked: defaultdict[str, dict[int, Asked]] = defaultdict(dict)
        self._pictures: dict[int, Picture] = {}
        self._samples: defaultdict[View, dict[int, Sample]] = defaultdict(dict)  # of the window
        self._stopwatches: defaultdict[str, Stopwatch] = defaultdict(Stopwatch)

    def ask(self, node: Node[Any], numbers: Sequence[int]) -> None:
        """Ask a stage about some samples that `passed`: not about those beyond its share, nor about
        those whose input failed."""
        ready = self._ready(node, numbers)
        if node.is_divided:
            self._ask_what_is_new(node, self._questions(node, ready))
            return
        answers = self._answers[node.name]
        new = self._ask(node, self._seen(node, self._unknown(node, ready)))
        answers.update(new)
        if any(new.values()):  # there is nothing to stamp in an empty answer
            for number, answer in new.items():
                answers[number] = self._stamped(node, number, answer) if answer else answer

    def is_known(self, node: Node[Any], numbers: Sequence[int]) -> bool:
        """Take the answers about some samples that are known; tell whether that is all."""
        ready = self._ready(node, self.passed(node, numbers))
        if not node.is_divided:
            return not self._unknown(node, ready)
        pending = self._questions(node, ready)
        self._take_known(node, pending)
        return all(of_sample.is_known for of_sample in pending.values())

    def passed(self, node: Node[Any], numbers: Sequence[int]) -> list[int]:
        """Return the samples that the sample filters before a stage do not drop; those on which one
        failed are among them. The answer about a dropped sample is noted: none was asked for.
        """
        if not node.gate.sample_filters:
            return list(numbers)
        dropped = self._dropped(node, numbers)
        for number in dropped:
            self._answers[node.name][number] = []
            self._asked[node.name][number] = ()
        return [number for number in numbers if number not in dropped]

    def _dropped(self, node: Node[Any], numbers: Sequence[int]) -> set[int]:
        """Return the samples that the sample filters before a stage drop."""
        judges = [self._nodes[name] for name in node.gate.sample_filters]
        layers = {
            judge.name: self._layer_of(judge, numbers) for judge in judges if judge.stage.has_layer
        }
        with self._judging(node, node.gate.sample_filters, numbers):
            judgements = judge_samples(self._shard, judges, layers, numbers, self._compared)
        return {number for judgement in judgements for number in judgement.dropped}

    def _layer_of(self, node: Node[Any], numbers: Sequence[int]) -> Layer:
        """Return the answers of a stage about some samples."""
        rows: dict[int, list[Any]] = {}
        errors = []
        for number in numbers:
            answer = self._answer(node.name, number)
            if isinstance(answer, SampleError):
                errors.append(StageError(sample=number, reason=answer.reason, message=""))
            elif answer is not None:
                rows[number] = answer
        return make_layer(node, rows, errors)

    def _ready(self, node: Node[Any], numbers: Sequence[int]) -> list[int]:
        """Return the samples to ask about; note the error of those whose input failed, and the
        empty answer about those beyond the share of the stage."""
        if not node.inputs and node.sample_share == 1:
            return list(numbers)
        ready = []
        for number in numbers:
            if not is_in_share(self._shard.records[number].sha256, node.sample_share):
                self._answers[node.name][number] = []
            elif error := self._failed_input(node, number):
                self._answers[node.name][number] = error
            else:
                ready.append(number)
        return ready

    def _ask(self, node: Node[Any], samples: Mapping[int, Sample]) -> dict[int, Answer]:
        if not samples:
            return {}
        stopwatch = self._stopwatches[node.name]
        began_s = stopwatch.start()
        new = ask(
            node,
            list(samples.values()),
            limits=self._limits,
            watched=partial(self._watched, node),
        )
        failures = sum([isinstance(answer, SampleError) for answer in new if answer])
        stopwatch.stop(began_s, samples=len(new), failures=failures)
        return dict(zip(samples, new, strict=True))

    def _questions(self, node: Node[Any], numbers: Sequence[int]) -> dict[int, SampleQuestions]:
        """Return the questions about some samples, of what passed the gate of the stage."""
        kept = self._kept(node, numbers)
        known = self._known.get(node.name, {})
        pending = {}
        for number, whole in self._seen(node, numbers).items():
            sample = passed(whole, kept.get(number))
            questions = questions_of(node.stage, sample)
            own = known.get(number, Known()).for_questions(questions)
            pending[number] = SampleQuestions(sample=sample, questions=questions, known=own)
        return pending

    def _kept(self, node: Node[Any], numbers: Sequence[int]) -> dict[int, frozenset[str]]:
        """Return the ids of the annotations that the gate of a stage keeps; without one nothing."""
        gate = node.gate
        if not gate.filters:
            return {}
        layers = {
            name: make_layer(self._nodes[name], {n: self._rows(name, n) for n in numbers}, ())
            for name in (*gate.lineage, *gate.measured)
            if name not in gate.sample_filters
        }
        with self._judging(node, gate.filters, numbers):
            specialists = [self._nodes[name] for name in gate.lineage]
            filters = [(self._nodes[name], tasks) for name, tasks in gate.filters.items()]
            return passing(self._shard, specialists, filters, layers, numbers)

    def _judging(
        self, node: Node[Any], filters: Iterable[str], numbers: Sequence[int]
    ) -> AbstractContextManager[None]:
        """Limit the time in which the gate of a stage judges."""
        return self._watch.over(
            Doing(
                what=lambda: f"judging before stage {node.name!r} (filters: {', '.join(filters)})",
                seconds=self._limits.stage_seconds,
                limit="limits.stage_seconds",
                reason=STAGE_TIMEOUT,
                stage=node.name,
                samples=tuple(numbers),
            )
        )

    def _take_known(self, node: Node[Any], pending: Mapping[int, SampleQuestions]) -> None:
        for number, of_sample in pending.items():
            if of_sample.is_known:
                self._take(node, number, of_sample, of_sample.known.answers)

    def _unknown(self, node: Node[Any], numbers: Sequence[int]) -> Sequence[int]:
        """Take what a stage that has no gate any more answered when it had one; return the samples
        that are left. Its annotations get the ids that they have without a gate."""
        if not self._known.get(node.name):
            return numbers
        left = []
        for number, of_sample in self._questions(node, numbers).items():
            if not of_sample.is_known:
                left.append(number)
                continue
            answers = of_sample.known.answers
            rows = [row for question in of_sample.questions for row in answers[question.digest]]
            self._answers[node.name][number] = self._stamped(node, number, rows)
        self._stopwatches[node.name].reused += len(numbers) - len(left)
        return left

    def _ask_what_is_new(self, node: Node[Any], pending: Mapping[int, SampleQuestions]) -> None:
        """Ask the questions to which no answer is known.

        Where a part of a sample gives an error, or nothing is found in all of it, the whole sample
        is asked, as if nothing were known: the stage may then answer otherwise.
        """
        self._take_known(node, pending)
        reused = sum(one.is_known and bool(one.questions) for one in pending.values())
        self._stopwatches[node.name].reused += reused
        wanted = {number: one.new for number, one in pending.items() if not one.is_known}
        while wanted:
            whole: dict[int, Sequence[Question]] = {}
            for number, answer in self._ask_questions(node, pending, wanted).items():
                of_sample = pending[number]
                is_part = len(wanted[number]) < len(of_sample.questions)
                if is_part and not of_sample.has_rows(answer):
                    whole[number] = of_sample.questions
                elif isinstance(answer, SampleError):
                    self._answers[node.name][number] = answer
                else:
                    self._take(node, number, of_sample, {**of_sample.known.answers, **answer})
            wanted = whole

    def _ask_questions(
        self,
        node: Node[Any],
        pending: Mapping[int, SampleQuestions],
        wanted: Mapping[int, Sequence[Question]],
    ) -> dict[int, dict[str, list[Any]] | SampleError]:
        """Ask questions about samples; return the stored form of the answers, by their digests."""
        samples = {n: shown(node.stage, pending[n].sample, own) for n, own in wanted.items()}
        found: dict[int, dict[str, list[Any]] | SampleError] = {}
        for number, answer in self._ask(node, samples).items():
            if isinstance(answer, SampleError):
                found[number] = answer
                continue
            try:
                parts = divided(node.stage, wanted[number], answer)
            except SampleError as error:
                found[number] = _named(node, error)
                continue
            found[number] = {
                question.digest: self._stamped(node, number, part, question.digest)
                for question, part in zip(wanted[number], parts, strict=True)
            }
        return found

    def _take(
        self,
        node: Node[Any],
        number: int,
        of_sample: SampleQuestions,
        answers: Mapping[str, list[Any]],
    ) -> None:
        """Note the answers to all questions about a sample, in the order of the questions."""
        rows = [row for question in of_sample.questions for row in answers[question.digest]]
        if error := node.stage.rows.size_problem(len(rows), of_sample.sample, self._limits):
            self._answers[node.name][number] = _named(node, error)
            return
        self._answers[node.name][number] = rows
        self._asked[node.name][number] = tuple(
            (question.digest, len(answers[question.digest])) for question in of_sample.questions
        )

    def forget_pixels(self) -> None:
        """Drop the pixels of the window; the answers stay."""
        self._pictures.clear()
        self._samples.clear()

    def part(self, node: Node[Any]) -> Layer:
        """Return the answers of a stage in this call, as a part of its layer."""
        answers: dict[int, Any] = {}
        errors: list[StageError] = []
        own = self._answers[node.name]
        for number, answer in own.items() if any(own.values()) else ():
            if isinstance(answer, SampleError):
                errors.append(
                    StageError(
                        sample=number,
                        reason=answer.reason,
                        message=answer.message,
                        traceback=answer.traceback,
                    )
                )
            else:
                answers[number] = answer
        return make_layer(node, answers, errors, self._asked[node.name])

    def timing(self, node: Node[Any], spent: Spent) -> StageTiming:
        """Return what a stage did in this call, with what it has spent meanwhile."""
        return self._stopwatches[node.name].timing(node.name, spent)

    def _watched(self, node: Node[Any], samples: Sequence[Sample]) -> AbstractContextManager[None]:
        """Limit the time in which a stage answers."""
        own = node.stage.config.call_seconds
        return self._watch.over(
            Doing(
                what=partial(_described, node, samples),
                seconds=seconds_of(node, self._limits, len(samples)),
                limit="limits.stage_seconds" if own is None else "call_seconds",
                reason=STAGE_TIMEOUT,
                stage=node.name,
                samples=tuple([self._numbers[sample.key] for sample in samples]),
            )
        )

    def _failed_input(self, node: Node[Any], number: int) -> SampleError | None:
        for name in node.inputs:
            failed = self._answer(name, number)
            if isinstance(failed, SampleError):
                message = f"stage {name!r}, which {node.name!r} reads, failed on this image"
                is_unpaid = failed.reason == BUDGET_EXHAUSTED  # and so is what follows from it
                return SampleError(BUDGET_EXHAUSTED if is_unpaid else INPUT_FAILED, message)
        return None

    def _seen(self, node: Node[Any], numbers: Sequence[int]) -> dict[int, Sample]:
        """Return samples as a stage sees them; stages that read the same see the same object."""
        samples = self._samples[node.view]
        for number in numbers:
            if number not in samples:
                samples[number] = self._sample(node, number)
        return {number: samples[number] for number in numbers}

    def _sample(self, node: Node[Any], number: int) -> Sample:
        record = self._shard.records[number]
        self._numbers[record.key] = number
        tasks = node.tasks
        known = list(self._shard.labels[number])
        for name in node.upstream:
            known += self._rows(name, number)
        picture = self._pictures.get(number)
        if picture is None:
            picture = self._pictures[number] = Picture(self._images[number])
        return Sample(
            key=record.key,
            width=record.width,
            height=record.height,
            picture=picture,
            sha256=record.sha256,
            annotations=tuple(annotation for annotation in known if annotation.task in tasks),
            labels=self._shard.labels[number],
            upstream=node.upstream,
            metadata=record.metadata,
        )

    def _rows(self, name: str, number: int) -> list[Any]:
        """Return the answer of a stage that did not fail."""
        answer = self._answer(name, number)
        assert isinstance(answer, list), name
        return answer

    def _answer(self, name: str, number: int) -> Answer | None:
        """Return the answer of this call, else the stored one; `None` where there is none."""
        own = self._answers[name].get(number)
        return self._stored.get(name, {}).get(number) if own is None else own

    def _stamped(self, node: Node[Any], number: int, answer: Any, question: str = "") -> Any:
        if isinstance(answer, SampleError):
            return answer
        digest = self._shard.records[number].digest
        return node.stage.rows.stamped(answer, node.provenance, digest, question)


def _named(node: Node[Any], error: SampleError) -> SampleError:
    """Return the error of an answer that makes no sense, with the stage."""
    return SampleError(error.reason, f"stage {node.name!r}: {error.message}")


def _described(node: Node[Any], samples: Sequence[Sample]) -> str:
    keys = ", ".join(sample.key for sample in samples[:_MAX_NAMED])
    more = f" and {len(samples) - _MAX_NAMED} more" if len(samples) > _MAX_NAMED else ""
    return f"stage {node.name!r}, asked about {keys}{more},"


def seconds_of(node: Node[Any], limits: Limits, samples: int) -> float:
    """Return the seconds that a stage has for a call; a service has them for each image."""
    own = node.stage.config.call_seconds
    seconds = limits.stage_seconds if own is None else own
    return seconds * samples if node.stage.is_remote else seconds
