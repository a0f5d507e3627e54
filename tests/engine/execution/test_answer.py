from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.errors import MissingPackage, SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.execution.answer import ask
from florilegium.engine.planning.graph import Node
from tests.building import BRIGHT_ENOUGH
from tests.engine.by_hand import caption, planned, region
from tests.stages import BrightEnough

Say = Callable[[Sample], list[Annotation]]


class Saying(Specialist[StageConfig]):
    """Returns the given answers; remembers the batches that it saw."""

    produces = ("object_detection", "caption")

    def __init__(self, say: Say) -> None:
        super().__init__(StageConfig())
        self.say = say
        self.batches: list[list[str]] = []

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        self.batches.append([sample.key for sample in samples])
        return [self.say(sample) for sample in samples]


def node_of(stage: Any) -> Node[Any]:
    return Node(name="stage", use="stage", stage=stage, fingerprint="f")


def sample(key: str = "a", *annotations: Annotation) -> Sample:
    return Sample(key=key, width=40, height=30, picture=Picture(b""), annotations=annotations)


def problem(*annotations: Annotation, upstream: Sequence[Annotation] = ()) -> str:
    """Return what is wrong with an answer."""
    (answer,) = ask(node_of(Saying(lambda _: list(annotations))), [sample("a", *upstream)])
    if not isinstance(answer, SampleError):
        return ""
    assert answer.reason == "invalid_output"
    return answer.message


def test_answers_come_in_the_order_of_the_samples() -> None:
    stage = Saying(lambda one: [region(one.key)])
    answers = ask(node_of(stage), [sample("a"), sample("b")])
    assert answers == [[region("a")], [region("b")]]
    assert stage.batches == [["a", "b"]]


def test_a_stage_is_not_asked_about_nothing() -> None:
    stage = Saying(lambda one: [])
    assert ask(node_of(stage), []) == []
    assert stage.batches == []


def test_a_batch_that_fails_is_asked_again_one_by_one() -> None:
    def say(one: Sample) -> list[Annotation]:
        if one.key == "b":
            raise KeyError("beta")
        return [region(one.key)]

    stage = Saying(say)
    first, second, third = ask(node_of(stage), [sample("a"), sample("b"), sample("c")])
    assert (first, third) == ([region("a")], [region("c")])
    assert isinstance(second, SampleError)
    assert (second.reason, second.message) == ("stage_failed", "KeyError: 'beta'")
    first_frame, *_ = second.traceback.splitlines()
    assert first_frame.startswith("  execution/test_answer.py, line ")
    assert second.traceback.endswith("""    raise KeyError("beta")\nKeyError: 'beta'""")
    assert stage.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]


class Paid(Saying):
    """A service that leaves out the answer to the last sample of a batch."""

    is_remote: ClassVar[bool] = True

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return super().predict(samples)[: max(1, len(samples) - 1)]


def test_a_service_with_a_wrong_number_of_answers_is_not_paid_twice() -> None:
    stage = Paid(lambda one: [region(one.key)])
    answers = ask(node_of(stage), [sample("a"), sample("b"), sample("c")])
    assert stage.batches == [["a", "b", "c"]]
    for answer in answers:
        assert isinstance(answer, SampleError)
        assert answer.reason == "invalid_output"
        assert answer.message == "2 answers to 3 samples: one each is wanted"


def test_a_model_with_a_wrong_number_of_answers_is_asked_again_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Paid, "is_remote", False)
    stage = Paid(lambda one: [region(one.key)])
    assert ask(node_of(stage), [sample("a"), sample("b")]) == [[region("a")], [region("b")]]
    assert stage.batches == [["a", "b"], ["a"], ["b"]]


def test_a_single_image_that_fails_is_not_asked_about_twice() -> None:
    def say(one: Sample) -> list[Annotation]:
        raise SampleError("too_ugly", "no")

    stage = Saying(say)
    (answer,) = ask(node_of(stage), [sample()])
    assert isinstance(answer, SampleError)
    assert (answer.reason, answer.message, answer.traceback) == ("too_ugly", "no", "")
    assert len(stage.batches) == 1


def test_a_missing_package_stops_the_run() -> None:
    def say(one: Sample) -> list[Annotation]:
        raise MissingPackage("pip install x")

    with pytest.raises(MissingPackage):
        ask(node_of(Saying(say)), [sample()])


@pytest.mark.attack("hangs")
@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
def test_an_error_that_would_end_the_process_costs_the_image(error: BaseException) -> None:
    def say(one: Sample) -> list[Annotation]:
        if one.key == "b":
            raise error
        return [region(one.key)]

    first, second = ask(node_of(Saying(say)), [sample("a"), sample("b")])
    assert first == [region("a")]
    assert isinstance(second, SampleError)
    assert (second.reason, type(error).__name__ in second.message) == ("stage_failed", True)


@pytest.mark.attack("hangs")
def test_an_interrupt_that_a_stage_raises_itself_costs_the_image() -> None:
    """No signal arrives in another thread than the main one, and there workers ask."""

    def say(one: Sample) -> list[Annotation]:
        raise KeyboardInterrupt

    with ThreadPoolExecutor() as threads:
        (answer,) = threads.submit(ask, node_of(Saying(say)), [sample()]).result()
    assert isinstance(answer, SampleError)
    assert answer.message == "KeyboardInterrupt: "


@pytest.mark.attack("memory")
def test_memory_that_one_image_lacks_is_its_own_fault() -> None:
    def say(one: Sample) -> list[Annotation]:
        if one.key == "b":
            raise MemoryError("cannot allocate 9 PiB")
        return []

    first, second = ask(node_of(Saying(say)), [sample("a"), sample("b")])
    assert first == []
    assert isinstance(second, SampleError)
    assert (second.reason, second.message) == (
        "out_of_memory",
        "MemoryError: cannot allocate 9 PiB",
    )


class Unspeakable(Exception):
    """Fails again when it is written down."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.attack("hangs")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unspeakable(), "Unspeakable: (its message cannot be written)"),
        (SampleError("Too Ugly!", "no"), "no (its reason is not made of small letters"),
        (SampleError(["x"], "no"), "no (its reason is not made of small letters"),  # type: ignore[arg-type]
        (SampleError("x" * 99, "no"), "no (its reason is not made of small letters"),
    ],
)
def test_an_error_that_no_dead_letter_could_hold_is_told_as_far_as_it_goes(
    error: Exception, message: str
) -> None:
    def say(one: Sample) -> list[Annotation]:
        raise error

    (raised,) = ask(node_of(Saying(say)), [sample()])
    assert isinstance(raised, SampleError)
    assert raised.reason == "stage_failed"
    assert raised.message.startswith(message)


@pytest.mark.attack("memory")
@pytest.mark.parametrize(
    ("annotations", "reason", "message"),
    [
        ([region()] * 1_000_000, "too_many_annotations", "1000000 annotations, limits.max_annot"),
        ([object()] * 11, "too_many_annotations", "11 annotations, limits.max_annotations is 10"),
        ([caption("x" * 101)], "text_too_long", "a text of 101 characters, limits.max_caption_"),
        ([region(label="x" * 101)], "text_too_long", "a label of 101 characters"),
        ([region(id="x" * 101)], "text_too_long", "a id of 101 characters"),
        ([region(merged_from=("x",) * 11)], "too_many_annotations", "one merged from 11"),
    ],
)
def test_an_answer_that_is_too_large_is_refused_and_its_neighbours_are_not(
    annotations: list[Any], reason: str, message: str
) -> None:
    stage = Saying(lambda one: annotations if one.key == "b" else [caption("x" * 100)] * 10)
    limits = Limits(max_annotations=10, max_caption_characters=100)
    first, second = ask(node_of(stage), [sample("a"), sample("b")], limits=limits)
    assert first == [caption("x" * 100)] * 10
    assert isinstance(second, SampleError)
    assert second.reason == reason
    assert second.message.startswith(f"stage 'stage': {message}")


def test_an_interrupt_is_not_a_dead_letter() -> None:
    def say(one: Sample) -> list[Annotation]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(node_of(Saying(say)), [sample()])


@pytest.mark.parametrize(
    "annotations",
    [
        region(score=None),
        region(score=0.0),
        region(score=1.0),
        region(box_xyxy=(0.0, 0.0, 40.0, 30.0)),
        region(box_xyxy=(-3.0, 0.0, 45.0, 30.0)),  # partly outside: a filter's business
        region(box_xyxy=(5.0, 5.0, 5.0, 5.0)),
        region(mask_rle=MaskRLE((30, 40), "`U1")),
        caption(span=(0, 1)),
    ],
)
def test_an_answer_that_makes_sense_is_believed(annotations: Annotation) -> None:
    assert problem(annotations) == ""


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (region(score=1.01), "a score of 1.01"),
        (region(score=-0.1), "a score of -0.1"),
        (region(score=float("nan")), "a score of nan"),
        (region(score=float("inf")), "a score of inf"),
        (region(box_xyxy=(1.0, 2.0, 3.0)), "a box of 3"),
        (region(quad=(1.0,) * 4), "a quad of 4"),
        (region(box_xyxy=(float("nan"), 0.0, 1.0, 1.0)), "not a finite number"),
        (region(quad=(float("inf"),) * 8), "not a finite number"),
        (region(box_xyxy=(9.0, 0.0, 1.0, 1.0)), "corners swapped"),
        (region(box_xyxy=(41.0, 0.0, 50.0, 1.0)), "outside the 40x30 image"),
        (region(box_xyxy=(0.0, -9.0, 5.0, -1.0)), "outside the 40x30 image"),
        (region(mask_rle=MaskRLE((40, 30), "0")), "a mask of (40, 30)"),
        (region(mask_rle=MaskRLE((30, 40), "0")), "runs do not fill the image"),
        (caption(span=(3, 3)), "a span of (3, 3)"),
        (caption(span=(-1, 3)), "a span of (-1, 3)"),
        (caption(span=(1,)), "a span of (1,)"),
        (caption(parent_id="nobody"), "a parent 'nobody'"),
        (caption(id=["x"]), "a id that is no text"),
        (caption(parent_id=["x"]), "a parent_id that is no text"),
        (region(merged_from=(["x"],)), "a merged_from that names no annotations"),
        (region(merged_from=("nobody",)), "merged from 'nobody'"),
        (region(label=" "), "an object_detection needs `label`; it has only `box_xyxy`"),
        (Annotation(kind="region", task="ocr"), "declares only object_detection, caption"),
    ],
)
def test_nonsense_is_named_and_costs_the_image(annotations: Annotation, message: str) -> None:
    assert message in problem(annotations)


def test_what_is_missing_is_told_by_stage_task_and_field() -> None:
    message = "stage 'stage': an object_detection needs `box_xyxy`; it has only `label`"
    assert problem(region(box_xyxy=())) == message


def test_a_parent_may_be_heard_or_said_in_the_same_answer() -> None:
    assert problem(region(parent_id="x"), upstream=[caption(id="x")]) == ""
    assert problem(region(parent_id="x"), caption(id="x")) == ""


def test_an_id_names_one_annotation() -> None:
    """A `parent_id` could mean either; and which one would depend on what is asked together."""
    twice = "the id 'x' is that of two annotations of the sample"
    assert twice in problem(caption(id="x"), region(id="x", parent_id="x"))
    assert twice in problem(region(id="x"), upstream=[caption(id="x")])
    assert problem(caption(), region(), upstream=[caption(id="x")]) == ""


def test_a_statement_is_merged_from_what_was_heard() -> None:
    merged = region(merged_from=("x", "y"))
    assert problem(merged, upstream=[region(id="x"), region(id="y")]) == ""
    assert "merged from 'y'" in problem(merged, region(id="y"), upstream=[region(id="x")])


def test_nonsense_about_one_image_costs_only_that_image() -> None:
    stage = Saying(lambda one: [region(score=7.0 if one.key == "b" else 0.5)])
    answers = ask(node_of(stage), [sample("a"), sample("b"), sample("c")])
    assert [isinstance(answer, SampleError) for answer in answers] == [False, True, False]


class Hollow(SampleError):
    """An error that is false, as an empty answer is."""

    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize("is_raised", [True, False])
def test_an_error_that_is_false_is_an_error_and_no_empty_answer(is_raised: bool) -> None:
    def say(_: Sample) -> Any:
        if is_raised:
            raise Hollow("hollow", "nothing in it")
        return Hollow("hollow", "nothing in it")

    (answer,) = ask(node_of(Saying(say)), [sample("a")])
    assert isinstance(answer, SampleError)
    assert (bool(answer), answer.reason, answer.message) == (True, "hollow", "nothing in it")


class Measuring(BrightEnough):
    """Returns the given measurements."""

    measurements: list[list[Measurement]]

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        return self.measurements


def measuring(*rows: list[Measurement]) -> Any:
    node = planned(filters=BRIGHT_ENOUGH).filters[0]
    stage = Measuring(node.stage.config)
    stage.measurements = list(rows)
    (answer,) = ask(node_of(stage), [sample()])
    return answer


def test_measurements_are_taken_as_they_are() -> None:
    rows = [Measurement("x", {"brightness": 0.5}), Measurement("y", {})]
    assert measuring(rows) == rows


@pytest.mark.attack("memory")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "must be a list of Measurement"),
        ([{"brightness": 1.0}], "must be a list of Measurement"),
        (iter([]), "must be a list of Measurement"),
        ([Measurement("x", {})] * 10_001, "10001 measurements, at most 10000 are believed"),
    ],
)
def test_measurements_that_are_none_or_too_many_are_named(rows: Any, message: str) -> None:
    assert message in measuring(rows).message


def test_an_undeclared_measurement_or_a_wrong_count_is_nonsense() -> None:
    assert "undeclared measurement 'gloom'" in measuring([Measurement("x", {"gloom": 1.0})]).message
    assert "2 answers to 1 sample: one each is wanted" in measuring([], []).message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "not NoneType"),
        ((one for one in [region("cat")]), "not generator"),
        ([{"label": "cat"}], "not of dict"),
        ([None], "not of NoneType"),
        ("cat", "not str"),
    ],
)
def test_an_answer_that_is_no_list_of_annotations_is_named(answer: Any, message: str) -> None:
    """One that can be read only once would be lost without a word."""
    (error,) = ask(node_of(Saying(lambda _: answer)), [sample()])
    assert isinstance(error, SampleError)
    assert error.reason == "invalid_output"
    wanted = "stage 'stage': its answer to a sample must be a list of Annotation, "
    assert error.message == wanted + message


@pytest.mark.parametrize("answers", [None, iter([])])
def test_answers_that_are_no_list_are_named(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Saying(lambda _: [])
    monkeypatch.setattr(stage, "predict", lambda _: answers)
    (error,) = ask(node_of(stage), [sample()])
    assert isinstance(error, SampleError)
    assert error.reason == "invalid_output"
    assert "as the answer to 1 sample: a list with an answer to each is wanted" in error.message


class Curious(list[Annotation]):
    """An answer that notes when it is looked at."""

    def __init__(self, looks: list[bool], inside: list[bool]) -> None:
        super().__init__([region("a")])
        self.looks, self.inside = looks, inside

    def __iter__(self) -> Iterator[Annotation]:
        self.looks.append(bool(self.inside))
        return super().__iter__()


class Telling(Exception):
    """An error that notes when it is put into words."""

    looks: ClassVar[list[bool]] = []
    inside: ClassVar[list[bool]] = []

    def __str__(self) -> str:
        self.looks.append(bool(self.inside))
        return "message"


@pytest.mark.attack("hangs")
def test_answers_and_errors_are_looked_at_within_the_time_of_the_stage() -> None:
    """What a stage returns or raises may run code of its own, which may never end."""
    looks, inside = Telling.looks, Telling.inside

    @contextmanager
    def watched(_: Sequence[Sample]) -> Iterator[None]:
        inside.append(True)
        try:
            yield
        finally:
            inside.pop()

    def fail(_: Sample) -> list[Annotation]:
        raise Telling

    ((*answer,),) = ask(
        node_of(Saying(lambda _: Curious(looks, inside))), [sample()], watched=watched
    )
    ask(node_of(Saying(fail)), [sample()], watched=watched)
    assert answer == [region("a")]
    assert len(looks) >= 3
    assert all(looks)
