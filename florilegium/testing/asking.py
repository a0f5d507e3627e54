"""Checks of what a stage answers: of specialists, and of filters that measure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.rows import INVALID_OUTPUT, Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.execution.answer import STAGE_FAILED, Answer
from florilegium.engine.results.questions import divided, questions_of, shown
from florilegium.testing.drawn import broken
from florilegium.testing.faults import raised
from florilegium.testing.rows import difference_of, first_difference
from florilegium.testing.subject import Subject

_ONE_PIXEL = 1.0
_LAST_DECIMAL = 0.011
"""Of a box."""
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
    faults: dict[str, None] = {}
    for sample, answer in zip(subject.visible, answers, strict=True):
        if not isinstance(answer, SampleError):
            faults |= dict.fromkeys(_problems(sample, answer))
        elif answer.reason == INVALID_OUTPUT:
            faults[f"it gives an answer that is refused: {answer.message}"] = None
        elif answer.reason == STAGE_FAILED:
            faults[_failure(sample, answer)] = None
    yield from faults
    if not faults and answers and all(isinstance(one, SampleError) for one in answers):
        yield f"it answers no sample: {answers[0]}"


def _failure(sample: Sample, error: SampleError) -> str:
    size = f"{sample.width}x{sample.height}"
    if _READ_ONLY in error.message:
        return f"it writes into the pixels of an image, which others see: copy them first ({error})"
    trace = "".join(f"\n      {line}" for line in error.traceback.splitlines()[:-1])
    return (
        f"it fails on sample {sample.key!r} of {size} pixels: {error}; raise SampleError for an "
        f"image that it cannot handle{trace}"
    )


def _problems(sample: Sample, rows: list[Any]) -> Iterator[str]:
    """Yield what is wrong with rows that the engine accepts."""
    texts = {one.id: one.text for one in (*sample.annotations, *rows) if _is_annotation(one)}
    known = {one.id for one in sample.annotations}
    for row in rows:
        if isinstance(row, Measurement):
            yield from _problems_of_measurement(row, known)
        elif isinstance(row, Annotation):
            yield from _problems_of_annotation(row, sample, texts)


def _is_annotation(row: Any) -> bool:
    return isinstance(row, Annotation)


def _problems_of_measurement(row: Measurement, known: set[str]) -> Iterator[str]:
    if row.annotation_id not in known:
        yield f"it measures {row.annotation_id!r}, which is no annotation that it was shown"
    for name, value in row.values.items():
        if not math.isfinite(value):
            yield f"its measurement {name} is {value}: leave out what cannot be measured"


def _problems_of_annotation(
    row: Annotation, sample: Sample, texts: dict[str, str]
) -> Iterator[str]:
    if row.box_xyxy:
        x1, y1, x2, y2 = row.box_xyxy
        if min(x1, y1) < -_ONE_PIXEL or x2 > sample.width + _ONE_PIXEL or y2 > sample.height + 1:
            yield (
                f"it predicts a box {row.box_xyxy} that leaves the {sample.width}x{sample.height} "
                f"image: clip it"
            )
    text = texts.get(row.parent_id)
    if row.span and text is not None and row.span[1] > len(text):
        yield f"it predicts a span {row.span} beyond the {len(text)} characters of its parent"


def changes_nothing(subject: Subject) -> Iterator[str]:
    """Samples, annotations, pixels and config are the same after an answer."""
    for changed in (*(one for one in subject.changes),):
        yield f"it changes {changed}, which other stages see: make a copy"


def answers_the_same_again(subject: Subject) -> Iterator[str]:
    """The same call has the same answer, and does not raise where each sample has one."""
    try:
        raw = list(subject.stage.answer(subject.visible))
    except Exception as error:
        if not any(isinstance(one, SampleError) for one in subject.together):
            yield (
                f"asked about {len(subject.visible)} samples at once it raises {raised(error)}\n"
                f"      alone each has an answer: images of a batch may differ in size"
            )
        return
    if len(raw) != len(subject.visible):
        return  # `answers_each_sample` tells
    pairs = zip(raw, subject.visible, strict=True)
    again = [subject.stamped(answer, sample) for answer, sample in pairs]
    if difference := first_difference(subject.visible, subject.together, again, within=0):
        yield (
            f"asked twice it gives two answers ({difference}): seed what is random from the image, "
            f"and keep nothing from one call to the next"
        )


def does_not_depend_on_the_batch(subject: Subject) -> Iterator[str]:
    """A sample has the same answer alone, in a batch, and in another order."""
    alone = [subject.answers([one])[0] for one in reversed(subject.visible)][::-1]
    if difference := first_difference(subject.visible, subject.together, alone):
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
    """Annotations of tasks that it does not declare make no difference."""
    if all(len(one.annotations) == len(all_.annotations) for one, all_ in _pairs(subject)):
        return
    answers = subject.answers([replace(one, upstream=subject.upstream) for one in subject.samples])
    if difference := first_difference(subject.visible, subject.together, answers):
        yield (
            f"it reads annotations of tasks that it does not declare ({difference}): name them in "
            f"`reads`, or the engine never shows them"
        )


def _pairs(subject: Subject) -> Iterator[tuple[Sample, Sample]]:
    return zip(subject.visible, subject.samples, strict=True)


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
            if difference := difference_of(_unnamed(part), _unnamed(alone), within=_LAST_DECIMAL):
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
