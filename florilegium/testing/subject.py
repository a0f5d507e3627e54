"""A stage that is checked, with what several checks need: it is loaded once and asked once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from florilegium.engine.core.annotation import SOURCE, Annotation, Provenance
from florilegium.engine.core.errors import FlorilegiumError, SampleError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Stage
from florilegium.engine.execution.answer import Answer, ask
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.graph import Node
from florilegium.engine.planning.registry import require_packages
from florilegium.pipelines.reference.stage import is_asked
from florilegium.testing.drawn import samples as default_samples
from florilegium.testing.faults import raised
from florilegium.testing.worker import Reply, ask_in_worker

_NAME = "stage"


class Subject:
    """A stage class with options and the samples that it is asked about.

    `samples` may have annotations of any task; the stage is shown those that it reads. Options that
    are `fixed` keep their values in all checks.
    """

    def __init__(
        self,
        stage_class: type[Stage[Any]],
        *,
        options: Mapping[str, Any] | None = None,
        samples: Sequence[Sample] | None = None,
        fixed: Collection[str] = (),
    ) -> None:
        self.stage_class = stage_class
        self.options = dict(options or {})
        self.asked_tasks: set[str] = set()
        """The tasks that the stage has asked samples for, by `Sample.of`."""
        self.fixed = frozenset(fixed)
        self.unchecked: set[str] = set()
        """The options with a mark of which no other value could be tried."""
        self._samples = samples
        self.in_one_call: list[Answer] = []
        """The answers to the samples that have one, asked about in one call without others."""
        self._changed: dict[str, Subject] = {}

    @property
    def is_asked(self) -> bool:
        """Whether the engine asks the stage about samples: a filter only when it measures."""
        return is_asked(self.stage_class)

    @cached_property
    def samples(self) -> list[Sample]:
        """The samples with all annotations."""
        return list(default_samples() if self._samples is None else self._samples)

    def new(self) -> Stage[Any]:
        """Return another instance of the stage, as the planner makes it: not loaded.

        Raises:
            ConfigError: an option is wrong.
        """
        return self.stage_class(validated(self.stage_class.Config, self.options, where=_NAME))

    def changed(self, changes: Mapping[str, Any]) -> Subject:
        """Return the stage with some options changed, and the same samples."""
        key = json.dumps(changes, sort_keys=True)
        if key not in self._changed:
            options = {**self.options, **changes}
            self._changed[key] = Subject(self.stage_class, options=options, samples=self.samples)
        return self._changed[key]

    @cached_property
    def problem(self) -> str:
        """Why the stage cannot be made or loaded; empty when it can."""
        try:
            require_packages(_NAME, self.stage_class)
            stage = self.new()
            stage.require()
            if self.is_asked:
                stage.load()
        except FlorilegiumError as error:
            return redacted(str(error))
        except Exception as error:  # of any kind, from code of the plugin
            return f"it raises {raised(error)}"
        self._stage = stage
        return ""

    @property
    def stage(self) -> Stage[Any]:
        """The stage, loaded if it is ever asked."""
        if self.problem:
            raise RuntimeError(self.problem)
        return self._stage

    @cached_property
    def upstream(self) -> dict[str, frozenset[str]]:
        """The specialists whose annotations the stage reads, each with the tasks."""
        read = self.stage.read_tasks
        found: dict[str, frozenset[str]] = {}
        for one in self.samples:
            for name, tasks in one.upstream.items():
                found[name] = found.get(name, frozenset()) | (tasks & read)
            for annotation in one.annotations:
                if annotation.specialist != SOURCE and annotation.task in read:
                    own = found.get(annotation.specialist, frozenset())
                    found[annotation.specialist] = own | {annotation.task}
        return {name: tasks for name, tasks in found.items() if tasks}

    def _shown(self, sample: Sample) -> Sample:
        """Return a sample as the engine shows it: with annotations of the tasks that are read."""
        read = self.stage.read_tasks
        return _Noting(
            key=sample.key,
            width=sample.width,
            height=sample.height,
            picture=sample.picture,
            sha256=sample.sha256,
            annotations=tuple(one for one in sample.annotations if one.task in read),
            labels=sample.labels,
            upstream=self.upstream,
            metadata=sample.metadata,
            noted=self.asked_tasks,
        )

    @cached_property
    def visible(self) -> list[Sample]:
        """The samples as the engine shows them."""
        return [self._shown(one) for one in self.samples]

    def answers(self, samples: Sequence[Sample]) -> list[Answer]:
        """Ask as the engine does, which refuses nonsense, asks again one by one, and keeps five
        decimals."""
        node = Node[Any](name=_NAME, use=_NAME, stage=self.stage, fingerprint=_NAME)
        return [
            self.stamped(answer, sample)
            for answer, sample in zip(ask(node, samples), samples, strict=True)
        ]

    def stamped(self, answer: Answer, sample: Sample) -> Answer:
        """Return an answer as it is stored."""
        if isinstance(answer, SampleError):
            return answer
        return self.stage.rows.stamped(list(answer), Provenance(), sample.key)

    @cached_property
    def together(self) -> list[Answer]:
        """The answers to all samples, asked about in one call."""
        return self._together[0]

    @property
    def has_errors(self) -> bool:
        """Whether a sample has no answer, so that samples may have been asked about one by one."""
        return len(self.answered) < len(self.visible)

    @cached_property
    def answered(self) -> list[Sample]:
        """The samples that have an answer."""
        pairs = zip(self.visible, self.together, strict=True)
        return [sample for sample, answer in pairs if not isinstance(answer, SampleError)]

    @cached_property
    def in_worker(self) -> tuple[Reply, list[Sample]]:
        """What the stage did in a process of its own, and the samples that it was asked about."""
        whole = [one for one in self.visible if _is_whole(one)]
        return ask_in_worker(self.new(), whole), whole

    @property
    def changes(self) -> list[str]:
        """What the stage changed of what it was given, while it answered."""
        return self._together[1]

    @cached_property
    def _together(self) -> tuple[list[Answer], list[str]]:
        before = [_state_of(one) for one in self.visible]
        config = self.stage.config.model_dump_json()
        answers = self.answers(self.visible)
        after = [_state_of(one) for one in self.visible]
        changed = {
            name: None
            for old, new in zip(before, after, strict=True)
            for name in old
            if old[name] != new[name]
        }
        if config != self.stage.config.model_dump_json():
            changed["its config"] = None
        return answers, list(changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Noting(Sample):
    """A sample that notes of which tasks it is asked for annotations."""

    noted: set[str] = field(repr=False, compare=False)

    def of(self, *tasks: str) -> Iterator[Annotation]:
        self.noted.update(tasks)
        return Sample.of(self, *tasks)


def _state_of(sample: Sample) -> dict[str, object]:
    """Return what a stage could change of a sample, by what it is."""
    try:
        pixels = sha256(sample.image.tobytes()).hexdigest()
        is_writable = sample.image.flags.writeable
    except SampleError:
        pixels, is_writable = "", False
    return {
        "the pixels of an image": (pixels, is_writable),
        "the annotations of a sample": [_copy(one) for one in sample.annotations],
        "the labels of a sample": [_copy(one) for one in sample.labels],
        "a sample": (sample.key, sample.width, sample.height, sample.sha256),
        "the `upstream` of a sample": dict(sample.upstream),
    }


def _is_whole(sample: Sample) -> bool:
    """Whether an image can be decoded."""
    try:
        return sample.image is not None
    except SampleError:
        return False


def _copy(annotation: Annotation) -> Annotation:
    return replace(annotation)
