"""LLaVA: conversations about images, as JSON that its training reads.

    OUTPUT/train.json          [{"id": KEY, "image": "train/KEY.jpg", "conversations": [...]}];
                               `conversations.json` without parts
    OUTPUT/images/train/       images, upright

A question and its answer for each caption, text, question and region with words. Boxes are written
as `[left, top, right, bottom]` in shares of the image's sides, 0..1, with three decimals.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.tasks import ANSWER_TASKS, TABLE
from florilegium.pipelines.export.exporter import (
    NOT_EXPORTED,
    SELECTING,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
)
from florilegium.pipelines.export.images import ImageFiles
from florilegium.pipelines.export.selected import SelectedDataset, SelectedSample

IMAGES, CONVERSATIONS = "images", "conversations"
IMAGE = "<image>"
HAS_MARK = "text_with_the_mark_of_an_image"
_WHERE = "Please provide the bounding box coordinate of the region this sentence describes: "
WHAT = "Please provide a short description for this region: {}"


@dataclass(frozen=True, kw_only=True)
class LlavaExported(ExportedAnnotations):
    """Images by part, questions with answers, and what was left out."""

    images: Mapping[str, int]
    turns: int

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        for part, count in self.images.items():
            yield f"{part} {counted(count, 'image')}".strip()
        yield counted(self.turns, "question with its answer", "questions with their answers")


class LlavaExporter(Exporter[ExportConfig, LlavaExported]):
    """Writes conversations and the images that they are about, one sample in memory at a time."""

    supports: ClassVar[frozenset[str]] = SELECTING | {"split", "images"}

    def write(self, dataset: SelectedDataset, output: Path) -> LlavaExported:
        """Write conversations and images.

        Raises:
            UsageError: no annotation gives a question with its answer.
            StorageError: a shard cannot be read.
        """
        images, left_out, turns = ImageFiles(dataset, output), LeftOut(), 0
        counts: Counter[str] = Counter()
        with ExitStack() as stack:
            files = {
                part: stack.enter_context((output / path_of(part)).open("w", encoding="utf-8"))
                for part in dataset.parts
            }
            for sample in dataset:
                pairs = list(_pairs(sample, left_out))
                if not pairs:
                    continue
                folder = f"{IMAGES}/{sample.part}".rstrip("/")
                name = images.add(sample, folder, sample.key).removeprefix(f"{IMAGES}/")
                document = {"id": sample.key, "image": name, CONVERSATIONS: _turns(pairs)}
                _add(files[sample.part], document, is_first=not counts[sample.part])
                counts[sample.part] += 1
                turns += len(pairs)
            for part, file in files.items():
                file.write("\n]\n" if counts[part] else "[]\n")
        if not turns:
            raise UsageError(f"{dataset.url} has no caption, question or text to talk about")
        return LlavaExported(images=dict(images.count), turns=turns, left_out=left_out)


def path_of(part: str) -> str:
    """Return the path of the conversations of a part."""
    return f"{part or CONVERSATIONS}.json"


def _add(file: IO[str], document: Mapping[str, Any], *, is_first: bool) -> None:
    file.write("[\n" if is_first else ",\n")
    file.write(json.dumps(document, ensure_ascii=False))


def _turns(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the turns of a conversation; the image comes before the first question."""
    turns: list[dict[str, str]] = []
    for question, answer in pairs:
        mark = "" if turns else f"{IMAGE}\n"
        turns.append({"from": "human", "value": f"{mark}{question}"})
        turns.append({"from": "gpt", "value": answer})
    return turns


def _pairs(sample: SelectedSample, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Yield questions with answers, each once; count the annotations that give none.

    Several regions of a phrase are one answer.
    """
    answers: dict[str, dict[str, None]] = {}
    for one in sample.annotations:
        pair = pair_of(one, (sample.width, sample.height))
        if pair is None:
            left_out[one.task, NOT_EXPORTED] += 1
        elif IMAGE in "".join(pair):
            left_out[one.task, HAS_MARK] += 1
        else:
            answers.setdefault(pair[0], {})[pair[1]] = None
    for question, own in answers.items():
        if question.startswith(_WHERE):  # a phrase of several regions
            yield question, ", ".join(own)
        else:
            yield from ((question, answer) for answer in own)


def pair_of(one: Annotation, size_wh: tuple[int, int]) -> tuple[str, str] | None:
    """Return the question that an annotation answers, and the answer; `None` where there is none.

    A caption answers the prompt that Florence-2 has for its task.
    """
    task = TABLE.get(one.task)
    if task is None:
        return None
    if one.task in ANSWER_TASKS:
        return (one.text, one.label) if one.text and one.label else None
    if one.kind == "text":
        asks = task.florence2 is not None and task.words in ("sentence", "reading")
        return (task.florence2.prompt, one.text) if asks and task.florence2 and one.text else None
    if not one.box_xyxy or not one.words:
        return None
    if one.kind == "phrase":
        return f"{_WHERE}{one.text}", _box(one, size_wh)
    if task.words == "sentence":
        return WHAT.format(_box(one, size_wh)), one.text
    return None


def _box(one: Annotation, size_wh: tuple[int, int]) -> str:
    shares = (
        min(max(edge / size_wh[place % 2], 0.0), 1.0) for place, edge in enumerate(one.box_xyxy)
    )
    return f"[{', '.join(f'{share:.3f}' for share in shares)}]"
