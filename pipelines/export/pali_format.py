"""The prompts and answers of PaLI as text, and back.

Prompts of captions, questions and text in the image are those of PaLI (arXiv 2209.06794, section
3.2). Boxes are written `cat [100, 200, 300, 400]; dog [...]`: top, left, bottom, right, the order
of Pix2Seq (arXiv 2109.10852), each 0..999 in thousandths of the image's sides. Knows no dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from florilegium.engine.core.errors import StorageError

Kind = Literal["caption", "question", "ocr", "detection", "referring"]
ANNOTATIONS = "annotations.jsonl"
BINS = 1000
_AND = " and "
_BOXED = re.compile(r"(?P<name>.+?) \[(?P<numbers>\d{1,3}(?:, \d{1,3}){3})\](?:; |\Z)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedBox:
    """A name and its box in pixels."""

    name: str
    box_xyxy: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaliExample:
    """A prompt and its answer about an image; `size_wh` is that of the image in pixels.

    `image` is the name of its file, empty where there is none yet.
    """

    image: str = ""
    kind: Kind
    prefix: str
    suffix: str
    size_wh: tuple[int, int]

    def boxes(self) -> list[NamedBox]:
        """Return the boxes of the answer, those of detection and referring expressions, each edge
        within half a bin of what it was.

        Raises:
            ValueError: the answer is not written so.
        """
        return read_boxes(self.suffix, self.size_wh)


def caption_prompt(language: str) -> str:
    """Return the prompt for a caption in a language, BCP 47; position 0 is that of a whole one."""
    return f"Generate the alt_text in {language.upper()} at 0:"


def ocr_prompt(language: str) -> str:
    """Return the prompt for all text in an image."""
    return f"Generate the ocr_text in {language.upper()}:"


def question_prompt(question: str, language: str) -> str:
    """Return the prompt for the answer to a question, in the language of the answer."""
    return f"Answer in {language.upper()}: {question}"


def detection_prompt(names: Sequence[str]) -> str:
    """Return the prompt for the boxes of these names, or of one referring expression."""
    return f"detect {_AND.join(names)}"


def is_plain_name(name: str) -> bool:
    """Return whether a name can stand in a list of names, and be found there again."""
    return bool(name.strip()) and not re.search(r" and |[;\[\]]", name)


def is_expression(text: str) -> bool:
    """Return whether a text can refer to a place, and be found again before its boxes."""
    return bool(text.strip()) and not re.search(r"[\[\]]", text)


def write_boxes(boxes: Sequence[NamedBox], size_wh: tuple[int, int]) -> str:
    """Return boxes as the text of an answer."""
    return "; ".join(f"{one.name} {list(_bins(one.box_xyxy, size_wh))}" for one in boxes)


def read_boxes(text: str, size_wh: tuple[int, int]) -> list[NamedBox]:
    """Return the boxes of an answer, in pixels: the middles of their bins.

    Raises:
        ValueError: the text is not written so.
    """
    width, height = size_wh
    found, stop = [], 0
    for match in _BOXED.finditer(text):
        if match.start() != stop:
            break
        stop = match.end()
        top, left, bottom, right = map(int, match["numbers"].split(", "))
        sides = ((left, width), (top, height), (right, width), (bottom, height))
        box = tuple((number + 0.5) * side / BINS for number, side in sides)
        found.append(NamedBox(name=match["name"], box_xyxy=box))
    if stop != len(text):
        raise ValueError(f"no boxes as in 'cat [1, 2, 3, 4]; dog [...]': {text[stop:][:80]!r}")
    return found


def row_of(example: PaliExample) -> dict[str, Any]:
    """Return the fields of an example beside its image, as they are written."""
    return {name: value for name, value in asdict(example).items() if name != "image"}


def read_pali(folder: Path) -> Iterator[PaliExample]:
    """Yield the examples of one folder of an export, `train`, `valid` or `test`.

    Raises:
        StorageError: it is no such folder, or a line is damaged.
    """
    path = Path(folder) / ANNOTATIONS
    try:
        with path.open(encoding="utf-8") as lines:  # other line breaks of Unicode stand in texts
            for line in lines:
                row = json.loads(line)
                yield PaliExample(**{**row, "size_wh": tuple(row["size_wh"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path} is no file of examples of PaLI: {error}") from error


def _bins(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> tuple[int, ...]:
    """Return a box as bins, (top, left, bottom, right)."""
    left, top, right, bottom = box_xyxy
    width, height = size_wh
    pairs = ((top, height), (left, width), (bottom, height), (right, width))
    return tuple(min(max(int(edge * BINS / side), 0), BINS - 1) for edge, side in pairs)
