"""What a stage is: a specialist that predicts annotations, a filter that judges them, or a sample
filter that judges whole samples.

A stage declares the tasks it reads and produces, so that the planner can order a graph and
refuse a wrong one before anything starts. Weights and other heavy things come in `load`,
never at import. A new stage is one subclass with one abstract method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import SampleColumns, Statements, Verdicts
from florilegium.engine.core.rows import AnnotationRows, Measurement, MeasurementRows, Rows
from florilegium.engine.core.sample import SAMPLE_FILTERS, Sample
from florilegium.engine.core.sample_rows import SampleMeasurement, SampleMeasurementRows, Value
from florilegium.engine.core.spent import Spent


@dataclass(frozen=True, slots=True)
class Marker:
    """A mark on a config field that says what a new value costs."""

    name: str


RUNTIME = Marker("runtime")
"""The field changes how fast, never what: a new value costs nothing."""
CONTENT = Marker("content")
"""The field names what the stage's `revision` or `model` identifies, such as weights or a word
list: another path to the same content costs nothing, other content is another stage."""
THRESHOLD = Marker("threshold")
"""The field changes verdicts, not measurements: a new value costs no call but of stages that are
asked about what passes now and did not before."""
ADDED = Marker("added")
"""The field came to a stage that datasets had been built with: at its default, nothing that is
stored mentions it, and earlier layers stay what they were."""


class StageConfig(BaseModel):
    """Options that every stage has; a stage's own `Config` adds to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 8
    """Images handed to the stage at once."""
    num_gpus: Annotated[float, RUNTIME, Field(ge=0)] = 0
    """GPUs that a worker of this stage holds; above 0, the stage gets a pool of its own."""
    workers: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], RUNTIME] = "auto"
    """Workers in the pool of a GPU stage, at most; `auto` shares the cluster's GPUs out evenly, and
    `florilegium plan` by what each stage costs."""

    call_seconds: Annotated[float | None, RUNTIME, Field(gt=0)] = None
    """Seconds for one call of the stage; by default `limits.stage_seconds`."""

    round: int = Field(default=0, ge=0)
    """The round of refinement of the stage; stamped on its annotations."""

    def stored(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the options as JSON values, as datasets store them: without those in `exclude`,
        and without an `ADDED` one at its default."""
        return self.model_dump(mode="json", exclude={*exclude, *self._unmentioned()})

    def marked(self, marks: Collection[Marker]) -> set[str]:
        """Return the names of the options that have one of these marks, and are stored."""
        fields = type(self).model_fields
        return {
            name
            for name in fields.keys() - self._unmentioned()
            if not _marks(fields[name]).isdisjoint(marks)
        }

    def _unmentioned(self) -> set[str]:
        return {
            name
            for name, info in type(self).model_fields.items()
            if ADDED in _marks(info)
            and getattr(self, name) == info.get_default(call_default_factory=True)
        }

    @field_validator("num_gpus")
    @classmethod
    def _whole_or_a_share(cls, num_gpus: float) -> float:
        if num_gpus > 1 and num_gpus != int(num_gpus):
            raise ValueError("above 1 only whole GPUs can be given")
        return num_gpus


def _marks(info: FieldInfo) -> set[Marker]:
    return {mark for mark in info.metadata if isinstance(mark, Marker)}


@dataclass(frozen=True, slots=True)
class Input:
    """Tasks of which a stage reads any; an input that is not optional needs at least one."""

    tasks: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return "|".join(self.tasks) + ("?" if self.optional else "")


def one_of(*tasks: str) -> Input:
    """Declare an input: at least one of these tasks must be produced by some stage."""
    return Input(tasks)


def maybe(*tasks: str) -> Input:
    """Declare an input that is read when some stage produces it."""
    return Input(tasks, optional=True)


ConfigT = TypeVar("ConfigT", bound=StageConfig)


class Stage(ABC, Generic[ConfigT]):
    """A step of the graph. Subclass `Specialist`, `Filter` or `SampleFilter`, not this."""

    section: ClassVar[str] = ""
    """The key of a run config under which stages of this kind stand."""
    Config: ClassVar[type[StageConfig]] = StageConfig
    """The pydantic model of the stage's options."""
    version: ClassVar[int] = 1
    """Raise it when the code gives another answer for the same input."""
    produces: tuple[str, ...] = ()
    """The tasks of the annotations that the stage predicts; may be narrowed in `__init__`."""
    reads: tuple[Input, ...] = ()
    """Earlier annotations the stage looks at; a stage that can do more than its options ask for
    narrows it in `__init__`."""
    each: tuple[str, ...] = ()
    """Tasks of the annotations about which the stage answers one by one; empty for a stage that
    looks at a sample as a whole. What it answers about one does not depend on the others, and
    descends from it by `parent_id` (a measurement is of it, or of what descends from it). Such a
    specialist is asked only about what passed the filters that can judge it before."""
    required_stages: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Specialists that the options name, and the tasks that each must produce; filled in
    `__init__`. The planner refuses a graph without them."""
    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for; a class of another package gives
    the number, and is refused by a florilegium that has another one."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Importable packages beyond the base installation."""
    extra: ClassVar[str] = ""
    """The extra of this distribution that brings `needs`."""
    calls_at_once: ClassVar[int] = 1
    """Calls that a worker of the stage's own pool may have at once, in threads: above 1 where the
    stage guards its device with a lock, so that one batch is decoded while another is computed."""
    is_of_people: ClassVar[bool] = False
    """Whether the stage brings in what people say about the dataset. Others read it only where they
    name it in `reads`, and no gate waits for it, so that what people say asks no stage again."""
    is_remote: ClassVar[bool] = False
    """Whether the stage waits for a service elsewhere; it then has one worker of its own, so that
    its limits hold for the whole run."""

    def __init__(self, config: ConfigT) -> None:
        self.config: ConfigT = config

    @property
    def read_tasks(self) -> frozenset[str]:
        """All tasks that the stage reads."""
        return frozenset(task for wanted in self.reads for task in wanted.tasks)

    @property
    @abstractmethod
    def rows(self) -> Rows[Any]:
        """What the stage answers about a sample, and what its layers hold."""

    @abstractmethod
    def answer(self, samples: Sequence[Sample]) -> Sequence[list[Any] | SampleError]:
        """Answer about each sample: its rows or an error, one answer per sample, in their order."""

    def chosen(self, sample: Sample) -> Sequence[Annotation]:
        """Return the annotations of `each` that the stage answers about: all, or where their number
        is limited, the best. Pure; of those that it chose, it chooses all."""
        return list(sample.of(*self.each))

    @property
    def has_layer(self) -> bool:
        """Whether the stage is asked about samples, and its answers are stored."""
        return True

    @property
    def model(self) -> str:
        """The model behind the stage, for provenance: a hub id, a package, a file."""
        return ""

    def require(self) -> None:
        """Check packages that `needs` cannot name: one of several, or for some options only. Cheap.

        Raises:
            MissingPackage: with the pip line that brings it.
        """

    def revision(self) -> str:
        """Name the exact model: a commit, a package version or a weight digest. Cheap."""
        return ""

    def caveat(self) -> str:
        """Say why the stage's annotations are worth nothing; empty for a model with weights."""
        return ""

    def omissions(self) -> Sequence[str]:
        """Say what the stage leaves out with these options, a line each: a dry run and the
        manifest show them. Cheap."""
        return ()

    def load(self) -> None:
        """Load weights and heavy imports, once per worker, before the first batch."""

    def spent(self) -> Spent:
        """Return what this worker has spent at a service so far; cheap, and called from any
        thread."""
        return Spent()


class Specialist(Stage[ConfigT]):
    """A stage that looks at images and predicts annotations of them."""

    section = "specialists"

    @property
    def rows(self) -> AnnotationRows:
        return AnnotationRows(tuple(self.produces))

    def answer(self, samples: Sequence[Sample]) -> Sequence[list[Annotation] | SampleError]:
        return self.predict(samples)

    @abstractmethod
    def predict(self, samples: Sequence[Sample]) -> Sequence[list[Annotation] | SampleError]:
        """Predict annotations of each sample: one list per sample, in their order.

        Pure: the answer for a sample does not depend on the others in the batch. Raise
        `SampleError` (or anything) for an image that cannot be handled; the engine then asks
        again, one image at a time, and only the guilty one becomes a dead letter. Where asking
        again costs money, return the `SampleError` instead of the answer.
        """


class Filter(Stage[ConfigT]):
    """A stage that judges annotations.

    What is expensive goes into `measure`, whose numbers are stored once; `judge` turns stored
    numbers and thresholds into verdicts and is run again whenever a threshold changes. A
    filter that is cheap has no `measure`. Options that only `judge` reads are marked
    `Annotated[..., THRESHOLD]`.
    """

    section = "filters"
    judges_by: ClassVar[Literal["annotation", "task", "image"]] = "image"
    """On what the verdict on an annotation depends: on it alone (its parents aside), on those of
    its task in the same image, too, or on anything in the image. Only the first two kinds can judge
    before a stage is asked, when not all annotations are there yet."""
    measured: tuple[str, ...] = ()
    """Names of the numbers that `measure` stores; empty when there is no `measure`. Where
    they depend on options, these are the names of the defaults, and `__init__` sets the others."""

    @property
    def judged_tasks(self) -> frozenset[str]:
        """The tasks that the filter judges: all that it reads, unless it says otherwise."""
        return self.read_tasks

    @property
    def rows(self) -> MeasurementRows:
        return MeasurementRows(tuple(self.measured))

    @property
    def has_layer(self) -> bool:
        return bool(self.measured)

    def answer(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        return self.measure(samples)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Measure the annotations of each sample: one list per sample, in their order. Pure."""
        raise NotImplementedError(f"{type(self).__name__} declares no measurements")

    @abstractmethod
    def judge(self, statements: Statements) -> Verdicts:
        """Judge the annotations of some samples, all columns at once.

        Pure and cheap; `load` has not been called where nothing is measured. The verdicts on a
        sample do not depend on the samples beside it: those of a whole shard when it is published,
        of a few when a stage is asked about what passed.
        """


class SampleFilter(Stage[ConfigT]):
    """A stage that judges whole samples: an image that should not be in the dataset is dropped.

    As in a `Filter`, what is expensive goes into `measure`, whose numbers and texts are stored once
    for each sample; `judge` turns them and thresholds into verdicts. A sample filter that judges
    by the record alone (size, source, metadata) has no `measure`.

    Sample filters judge in the order of the config, those that read annotations after those that
    read none. None is asked about a sample that one before it dropped, and neither is a specialist,
    unless the sample filter needs its answers. A dropped sample becomes a dead letter with the
    filter, the reason and what was measured.
    """

    section = SAMPLE_FILTERS
    measured: tuple[str, ...] = ()
    """Names of the numbers that `measure` stores, such as `sharpness`. Where they depend on
    options, these are the names of the defaults, and `__init__` sets the others."""
    measured_texts: tuple[str, ...] = ()
    """Names of the short texts that `measure` stores, such as a hash."""
    compares: bool = False
    """Whether the verdict on a sample depends on other samples of the run; then there is a
    `compare`. Builds refuse such a filter: they do not compare yet."""
    compared: tuple[str, ...] = ()
    """Names of the numbers that `compare` adds to those of `measure`."""
    compared_texts: tuple[str, ...] = ()
    """Names of the texts that `compare` adds, such as the key of the sample that is repeated."""

    @property
    def blurs(self) -> str:
        """The text of `measured_texts` with the boxes to be blurred in the stored image, as a JSON
        list of [x1, y1, x2, y2] in pixels of the upright image; "" where nothing is blurred."""
        return ""

    @property
    def rows(self) -> SampleMeasurementRows:
        return SampleMeasurementRows(tuple(self.measured), tuple(self.measured_texts))

    @property
    def has_layer(self) -> bool:
        return bool(self.measured or self.measured_texts)

    def answer(self, samples: Sequence[Sample]) -> list[list[SampleMeasurement] | SampleError]:
        answers = self.measure(samples)
        return [
            one if isinstance(one, SampleError) else [SampleMeasurement(one)] for one in answers
        ]

    def measure(self, samples: Sequence[Sample]) -> Sequence[Mapping[str, Value] | SampleError]:
        """Measure each sample: one mapping per sample, in their order, with the names of `measured`
        (finite numbers) and `measured_texts`; a name that is left out was not measured.

        Pure, as `Specialist.predict` is: a sample that cannot be measured is a `SampleError`.
        """
        raise NotImplementedError(f"{type(self).__name__} declares no measurements")

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[Mapping[str, Sequence[Value]]]:
        """Compare the samples of the whole run: yield for each shard the columns of `compared` and
        `compared_texts`, one value for each of its samples, before the next shard is taken.

        `shards` are in their order, each with the samples that passed the filters before. Earlier
        shards win: what is yielded for one depends on it and on those before it only, so that
        verdicts stay when new shards come. Called in one process; it must not hold what it was
        given of earlier shards but in a compact form.
        """
        raise NotImplementedError(f"{type(self).__name__} declares no comparison")

    @abstractmethod
    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge some samples, all columns at once: `Verdicts(len(samples))`, with
        `drop(where, reason)`; numbers that are made here, such as an aspect ratio, are recorded by
        `measure`.

        Pure and cheap; `load` has not been called where nothing is measured. The verdict on a
        sample does not depend on those beside it.
        """
