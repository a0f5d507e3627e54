"""The answers so far about some samples, while stages run over them one after another.

Holds the pixels of the current window and the answers of all stages, and shows each stage only
what it reads. Knows nothing of files, processes or shards on disk.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from engine.core.errors import SampleError
from engine.core.limits import Limits
from engine.core.sample import Picture, Sample, is_in_share
from engine.execution.answer import BUDGET_EXHAUSTED, INPUT_FAILED, STAGE_TIMEOUT, Answer, ask
from engine.execution.watch import Doing, Watch
from engine.planning.graph import Node
from engine.results.layer import Layer, StageError, make_layer
from engine.results.shard import Shard, ShardBytes

StoredAnswers = Mapping[str, Mapping[int, Answer]]
"""By the name of the stage and the number of the sample."""
_MOST_NAMED = 4


class WorkerCall:
    """The samples of one call, and all answers about them."""

    def __init__(
        self,
        shard: Shard,
        images: ShardBytes,
        stored: StoredAnswers,
        *,
        limits: Limits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._shard = shard
        self._images = images
        self._limits = limits or Limits()
        self._watch = watch or Watch()
        self._numbers: dict[str, int] = {}  # of the samples that are asked about now, by key
        # Answers of this call go into the first map, stored ones stay in the second.
        self._answers: defaultdict[str, ChainMap[int, Answer]] = defaultdict(ChainMap)
        for name, answers in stored.items():
            self._answers[name] = ChainMap({}, dict(answers))
        self._pictures: dict[int, Picture] = {}

    def ask(self, node: Node[Any], numbers: Sequence[int]) -> None:
        """Ask a stage about some samples: not about those beyond its share, nor about those whose
        input failed."""
        answers = self._answers[node.name]
        ready = []
        for number in numbers:
            if not is_in_share(self._shard.records[number].sha256, node.sample_share):
                answers[number] = []
            elif error := self._failed_input(node, number):
                answers[number] = error
            else:
                ready.append(number)
        samples = [self._sample(node, number) for number in ready]
        self._numbers = {one.key: number for one, number in zip(samples, ready, strict=True)}
        new = ask(
            node, samples, limits=self._limits, watched=lambda asked: self._watched(node, asked)
        )
        for number, answer in zip(ready, new, strict=True):
            answers[number] = self._stamped(node, number, answer)

    def forget_pixels(self) -> None:
        """Drop the pixels of the window; the answers stay."""
        self._pictures.clear()

    def part(self, node: Node[Any]) -> Layer:
        """Return the answers of a stage in this call, as a part of its layer."""
        answers: dict[int, Any] = {}
        errors: list[StageError] = []
        for number, answer in self._answers[node.name].maps[0].items():
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
        return make_layer(node, answers, errors)

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
                samples=tuple(self._numbers[sample.key] for sample in samples),
            )
        )

    def _failed_input(self, node: Node[Any], number: int) -> SampleError | None:
        for name in node.upstream:
            failed = self._answers[name].get(number)
            if isinstance(failed, SampleError):
                message = f"stage {name!r}, which {node.name!r} reads, failed on this image"
                is_unpaid = failed.reason == BUDGET_EXHAUSTED  # and so is what follows from it
                return SampleError(BUDGET_EXHAUSTED if is_unpaid else INPUT_FAILED, message)
        return None

    def _sample(self, node: Node[Any], number: int) -> Sample:
        record = self._shard.records[number]
        tasks = node.tasks
        known = list(self._shard.labels[number])
        for name in node.upstream:
            known += self._answers[name][number]  # type: ignore[arg-type]
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
            upstream=node.upstream,
        )

    def _stamped(self, node: Node[Any], number: int, answer: Answer) -> Answer:
        if isinstance(answer, SampleError):
            return answer
        digest = self._shard.records[number].digest
        return node.stage.rows.stamped(answer, node.provenance, digest)


def _described(node: Node[Any], samples: Sequence[Sample]) -> str:
    keys = ", ".join(sample.key for sample in samples[:_MOST_NAMED])
    more = f" and {len(samples) - _MOST_NAMED} more" if len(samples) > _MOST_NAMED else ""
    return f"stage {node.name!r}, asked about {keys}{more},"


def seconds_of(node: Node[Any], limits: Limits, samples: int) -> float:
    """Return the seconds that a stage has for a call; a service has them for each image."""
    own = node.stage.config.call_seconds
    seconds = limits.stage_seconds if own is None else own
    return seconds * samples if node.stage.is_remote else seconds
