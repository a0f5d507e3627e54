"""Checks of what a stage answers: of specialists, and of filters that measure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.rows import INVALID_OUTPUT, Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.execution.answer import STAGE_FAILED, Answer
from florilegium.engine.results.questions import divided, questions_of, shown
from florilegium.testing.drawn import broken
from florilegium.testing.faults import raised
from florilegium.testing.rows import LAST_DECIMAL, difference_of, first_difference
from florilegium.testing.subject import Subject

_ONE_PIXEL = 1.0
_READ_ONLY = "read-only"


def answers_nothing_about_nothing(subject: Subject) -> Iterator[str]:
    """An empty batch has an empty answer."""
    try:
        answer = list(subject.stage.answer([]))
    except Exception as error:
        yield f"asked about no sample it raises {raised(error)}\n      return an empty list"
        return
    if answer:
        yield f"asked about no sample it gives {len(answer)} answers: return an empty list"


def answers_each_sample(subject: Subject) -> Iterator[str]:
    """Every sample gets a valid answer, or a `SampleError` that says why not."""
    answers = subject.together
    faults: dict[str, list[str]] = {}
    for sample, answer in zip(subject.visible, answers, strict=True):
        for kind, fault in _problems(sample, answer):
            faults.setdefault(kind, []).append(fault)
    for kind, alike in faults.items():
        more = f" ({len(alike) - 1} more of this kind)" if len(alike) > 1 else ""
        yield f"{kind}{more}: {alike[0]}"
    if not faults and answers and all(isinstance(one, SampleError) for one in answers):
        yield f"it answers no sample: {answers[0]}"


def _problems(sample: Sample, answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an answer, by kind; what the engine accepts is looked at, too."""
    if isinstance(answer, SampleError):
        yield from _problems_of_error(sample, answer)
        return
    annotations = [one for one in (*sample.annotations, *answer) if isinstance(one, Annotation)]
    texts = {one.id: one.text for one in annotations}
    for row in answer:
        if isinstance(row, Measurement):
            yield from _problems_of_measurement(row, {one.id for one in sample.annotations})
        elif isinstance(row, Annotation):
            yield from _problems_of_annotation(row, sample, texts)


def _problems_of_error(sample: Sample, error: SampleError) -> Iterator[tuple[str, str]]:
    if error.reason == INVALID_OUTPUT:
        yield "it gives an answer that is refused", error.message
    elif error.reason == STAGE_FAILED and _READ_ONLY in error.message:
        cure = "copy them first, as others see them, too"
        yield "it writes into the pixels of an image", f"{cure} ({error})"
    elif error.reason == STAGE_FAILED:
        trace = "".join(f"\n      {line}" for line in error.traceback.splitlines()[:-1])
        yield (
            "it raises an error that is no SampleError",
            f"{error}, on sample {sample.key!r} of {sample.width}x{sample.height} pixels{trace}",
        )


def _problems_of_measurement(row: Measurement, known: set[str]) -> Iterator[tuple[str, str]]:
    if row.annotation_id not in known:
        yield "it measures what is no annotation that it was shown", repr(row.annotation_id)
    for name, value in row.values.items():
        if not math.isfinite(value):
            cure = "leave out what cannot be measured"
            yield "it measures a number that is not finite", f"{name} is {value}; {cure}"


def _problems_of_annotation(
    row: Annotation, sample: Sample, texts: dict[str, str]
) -> Iterator[tuple[str, str]]:
    box, (width, height) = row.box_xyxy, (sample.width, sample.height)
    if box and (min(box) < -_ONE_PIXEL or box[2] > width + _ONE_PIXEL or box[3] > height + 1):
        yield (
            "it predicts a box that leaves the image",
            f"{box} in {width}x{height} pixels; clip it",
        )
    text = texts.get(row.parent_id)
    if row.span and text is not None and row.span[1] > len(text):
        yield (
            "it predicts a span beyond the text of its parent",
            f"{row.span} of {len(text)} characters",
        )


def changes_nothing(subject: Subject) -> Iterator[str]:
    """Samples, annotations, pixels and config are the same after an answer."""
    for changed in subject.changes:
        yield f"it changes {changed}, which other stages see: make a copy"


def answers_the_same_again(subject: Subject) -> Iterator[str]:
    """The same call has the same answer, and does not raise where each sample has one."""
    samples = subject.answered
    if not samples:
        return
    try:
        calls = [list(subject.stage.answer(samples)) for _ in range(1 + subject.has_errors)]
    except Exception as error:
        yield (
            f"asked about {len(samples)} samples at once it raises {raised(error)}\n"
            f"      alone each has an answer: images of a batch may differ in size"
        )
        return
    for raw in calls:
        if len(raw) != len(samples):
            yield (
                f"asked about {len(samples)} samples at once it gives {len(raw)} answers: "
                f"give one for each, in their order; an empty list where there is nothing"
            )
            return
    stamped = [list(map(subject.stamped, raw, samples)) for raw in calls]
    first, again = stamped if subject.has_errors else (subject.together, *stamped)
    subject.in_one_call = first
    if difference := first_difference(samples, first, again, within=0):
        yield (
            f"asked twice it gives two answers ({difference}): seed what is random from the image, "
            f"and keep nothing from one call to the next"
        )


def does_not_depend_on_the_batch(subject: Subject) -> Iterator[str]:
    """A sample has the same answer alone, in a batch, and in another order.

    Another instance is asked about each alone, as this one may have kept its answers.
    """
    if not subject.answered:
        return
    new = subject.changed({})
    if new.problem:
        yield f"it can be loaded once only: {new.problem}"
        return
    alone = [new.answers([one])[0] for one in reversed(subject.answered)][::-1]
    if difference := first_difference(subject.answered, subject.in_one_call, alone):
        yield (
            f"its answer depends on the other samples of the batch ({difference}): look at each "
            f"sample by itself"
        )


def survives_a_broken_image(subject: Subject) -> Iterator[str]:
    """An image that cannot be decoded costs no other sample its answer."""
    pairs = [
        (sample, answer)
        for sample, answer in zip(subject.visible, subject.together, strict=True)
        if not isinstance(answer, SampleError)
    ]
    if len(pairs) < 2:
        return
    (first, one), *_, (last, other) = pairs
    answers = subject.answers([first, broken(first), last])
    if difference := first_difference([first, last], [one, other], [answers[0], answers[2]]):
        yield (
            f"a broken image in the batch changes the answers about others ({difference}): answer "
            f"each image, or raise SampleError"
        )
    bad = answers[1]
    if isinstance(bad, SampleError):
        if bad.reason == STAGE_FAILED:
            yield (
                f"the error of a broken image does not come through: {bad}; let the SampleError of "
                f"`sample.image` pass"
            )
    elif difference := difference_of(one, bad):
        yield (
            f"it answers a broken image as if it saw one ({difference}): let the SampleError of "
            f"`sample.image` pass"
        )


def reads_what_it_declares(subject: Subject) -> Iterator[str]:
    """Of samples, a stage wants annotations of the tasks only that it declares."""
    assert subject.together is not None
    declared = {task for wanted in subject.stage_class.reads for task in wanted.tasks}
    for task in sorted(subject.asked_tasks - declared - subject.stage.read_tasks):
        yield (
            f"it asks for annotations of {task!r}, which it does not declare: name the task in "
            f"`reads`, or the engine never shows them"
        )


def answers_about_each_alone(subject: Subject) -> Iterator[str]:
    """What a stage with `each` answers about one annotation does not depend on the others."""
    stage = subject.stage
    if not stage.each:
        return
    for sample, together in zip(subject.visible, subject.together, strict=True):
        if isinstance(together, SampleError):
            continue
        chosen = list(stage.chosen(sample))
        again = list(stage.chosen(replace(sample, annotations=tuple(chosen))))
        if again != chosen or not {one.task for one in chosen} <= set(stage.each):
            yield "of what `chosen` chose it does not choose all, or it chooses other tasks"
            return
        questions = questions_of(stage, sample)
        try:
            parts = divided(stage, questions, together)
        except SampleError as error:
            yield f"it declares `each`, but gives {error}"
            return
        for question, part in zip(questions, parts, strict=True):
            (alone,) = subject.answers([shown(stage, sample, [question])])
            if difference := difference_of(_unnamed(part), _unnamed(alone), pixels=LAST_DECIMAL):
                yield (
                    f"it declares `each`, but its answer about one annotation depends on others "
                    f"(sample {sample.key!r}: {difference})"
                )
                return


def _unnamed(rows: Answer) -> Answer:
    """Return rows without ids that depend on their places in the answer."""
    if isinstance(rows, SampleError):
        return rows
    own = {one.id for one in rows if isinstance(one, Annotation)}
    return [
        replace(one, id="", parent_id="" if one.parent_id in own else one.parent_id)
        if isinstance(one, Annotation)
        else one
        for one in rows
    ]


def names_its_model_before_loading(subject: Subject) -> Iterator[str]:
    """Model and revision are known before `load`, and stay."""
    new = subject.new()
    before, after = ((one.model, one.revision()) for one in (new, subject.stage))
    if before != after:
        yield (
            f"its model and revision are {before} before `load` and {after} after it: they are "
            f"part of its fingerprint and must be known before"
        )


def works_in_a_worker(subject: Subject) -> Iterator[str]:
    """The stage can be pickled, and gives the same answers in another process."""
    reply, samples = subject.in_worker
    if reply.problem:
        yield reply.problem
        return
    here = [
        answer
        for answer, sample in zip(subject.together, subject.visible, strict=True)
        if sample in samples
    ]
    there = [
        subject.stamped(answer, sample)
        for answer, sample in zip(reply.answers, samples, strict=True)
    ]
    if difference := first_difference(samples, here, there):
        yield (
            f"it answers otherwise in another process ({difference}): seed what is random from the "
            f"image, sort sets, and keep nothing in a class or module"
        )
