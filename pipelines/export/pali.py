"""JSONL in the task formats of PaLI: captions by language, questions, text, boxes, expressions.

    OUTPUT/train/annotations.jsonl   {"image": "cat.jpg", "kind": "caption", "prefix":
                                      "Generate the alt_text in DE at 0:", "suffix": "Eine Katze."}
    OUTPUT/train/cat.jpg             each image once, upright: boxes are of these pixels
    OUTPUT/valid/  OUTPUT/test/      the same

`pali_format` has the formats, and reads them back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.tasks import (
    CAPTION_TASKS,
    DETECTION_TASKS,
    PHRASE_TASKS,
    TABLE,
    checked_captions,
    names_of,
)
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.export.exporter import (
    NOT_EXPORTED,
    SELECTING,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
)
from florilegium.pipelines.export.pali_format import (
    ANNOTATIONS,
    Kind,
    NamedBox,
    PaliExample,
    caption_prompt,
    detection_prompt,
    is_expression,
    is_plain_name,
    ocr_prompt,
    question_prompt,
    row_of,
    write_boxes,
)
from florilegium.pipelines.export.parts import PartFiles
from florilegium.pipelines.export.selected import SelectedDataset

QUESTION_TASKS = tuple(name for name in ("question_answer",) if name in TABLE)
OCR_TASKS = names_of(
    lambda task: task.kind == "region" and task.words == "reading" and not task.is_of_region
)
EXPRESSION_TASKS = (
    *names_of(lambda task: task.kind == "region" and task.words == "sentence"),
    *PHRASE_TASKS,
)
"""Tasks whose text refers to a place."""
NO_LANGUAGE = "no_language"
NO_ANSWER = "no_answer"
NO_BOX = "no_box"
AMBIGUOUS_NAME = "ambiguous_name"


def _checked(tasks: tuple[str, ...], known: Sequence[str], what: str) -> tuple[str, ...]:
    for task in tasks:
        if task not in known:
            raise ValueError(f"{task!r} has no {what}, {nearest(task, known)}")
    return tuple(dict.fromkeys(tasks))


class PaliConfig(ExportConfig):
    """Options of `PaliExporter`."""

    captions: Annotated[tuple[str, ...], NamesAmong(CAPTION_TASKS)] = ("caption",)
    """Tasks whose texts become captions. The prompt names the language and not the length, so that
    several tasks make it ambiguous."""
    objects: Annotated[tuple[str, ...], NamesAmong(DETECTION_TASKS)] = ("object_detection",)
    """Tasks whose labels are to be detected. An object that two tasks found occurs twice: leave one
    task out."""
    expressions: Annotated[tuple[str, ...], NamesAmong(EXPRESSION_TASKS)] = ("phrase_grounding",)
    """Tasks whose texts become referring expressions."""
    undeclared: str = ""
    """Language of captions and questions that declare none, BCP 47; without it, they are left
    out."""
    ocr_language: str = ""
    """Language of text in the image that declares none, BCP 47; without it, such text is left
    out."""
    sentinel: str = Field(default="<extra_id_0>")
    """What ends a prompt, as it does in PaLI, whose language model is mT5; empty for none."""

    @field_validator("captions")
    @classmethod
    def _of_captions(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return checked_captions(tasks)

    @field_validator("objects")
    @classmethod
    def _of_objects(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(tasks, DETECTION_TASKS, "labels to detect")

    @field_validator("expressions")
    @classmethod
    def _of_expressions(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(tasks, EXPRESSION_TASKS, "referring expressions")


@dataclass(frozen=True, kw_only=True)
class PaliExported(ExportedAnnotations):
    """Images by folder, examples by kind, and what was left out."""

    images: Mapping[str, int]
    examples: Mapping[Kind, int]

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        for part, count in self.images.items():
            yield f"{part:6} {counted(count, 'image')}"
        for kind, count in self.examples.items():
            yield f"{kind:10} {counted(count, 'example')}"


class PaliExporter(Exporter[PaliConfig, PaliExported]):
    """Writes images, and a line with prompt and answer for each example.

    About one sample in twenty goes to `valid` and one to `test`.
    """

    Config: ClassVar[type[BaseModel]] = PaliConfig
    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> PaliExported:
        """Write the three folders.

        Raises:
            UsageError: no sample gives an example.
            StorageError: a shard cannot be read.
        """
        examples: Counter[Kind] = Counter()
        left_out = LeftOut()
        with PartFiles(dataset, output, rows=ANNOTATIONS) as files:
            for sample in dataset:
                own = list(examples_of(sample, self.config, left_out))
                files.add(sample, map(row_of, own))
                examples.update(one.kind for one in own)
        if not examples:
            raise UsageError(
                f"no sample of {dataset.url} gives an example: check `captions`, `objects` and "
                f"`expressions`, or label more samples"
            )
        return PaliExported(images=files.images, examples=examples, left_out=left_out)


def examples_of(
    sample: DatasetSample, config: PaliConfig, left_out: LeftOut
) -> Iterator[PaliExample]:
    """Yield the examples of a sample; count the annotations that give none."""
    size_wh = (sample.width, sample.height)

    def example(kind: Kind, prompt: str, answer: str) -> PaliExample:
        prefix = f"{prompt} {config.sentinel}".strip()
        return PaliExample(kind=kind, prefix=prefix, suffix=answer, size_wh=size_wh)

    lines: dict[str, list[str]] = {}
    objects: list[NamedBox] = []
    expressions: dict[str, list[NamedBox]] = {}
    for one in sample.annotations:
        if reason := _problem(one, config):
            left_out[one.task, reason] += 1
        elif one.task in config.captions:
            yield example("caption", caption_prompt(_language(one, config)), one.text)
        elif one.task in QUESTION_TASKS:
            prompt = question_prompt(one.text, _language(one, config))
            yield example("question", prompt, one.label)
        elif one.task in OCR_TASKS:
            lines.setdefault(_language(one, config), []).append(one.text)
        elif one.task in config.objects:
            objects.append(NamedBox(name=one.label, box_xyxy=one.box_xyxy))
        else:
            box = NamedBox(name=one.text, box_xyxy=one.box_xyxy)
            expressions.setdefault(one.text, []).append(box)
    for language, texts in lines.items():
        yield example("ocr", ocr_prompt(language), "\n".join(texts))
    if objects:
        ordered = sorted(objects, key=lambda one: one.name)
        names = list(dict.fromkeys(one.name for one in ordered))
        yield example("detection", detection_prompt(names), write_boxes(ordered, size_wh))
    for expression, boxes in expressions.items():
        yield example("referring", detection_prompt([expression]), write_boxes(boxes, size_wh))


def _language(one: Annotation, config: PaliConfig) -> str:
    return one.language or (config.ocr_language if one.task in OCR_TASKS else config.undeclared)


def _problem(one: Annotation, config: PaliConfig) -> str:
    """Return why an annotation gives no example, "" if it does."""
    has_place = one.task in (*config.objects, *config.expressions)
    if not has_place and one.task not in (*config.captions, *QUESTION_TASKS, *OCR_TASKS):
        return NOT_EXPORTED
    if not has_place:
        if not _language(one, config):
            return NO_LANGUAGE
        return NO_ANSWER if one.task in QUESTION_TASKS and not one.label else ""
    if not one.box_xyxy:
        return NO_BOX
    is_clear = is_plain_name(one.label) if one.task in config.objects else is_expression(one.text)
    return "" if is_clear else AMBIGUOUS_NAME
