"""What a task is: one kind of annotation, as data.

A plugin adds a task by an entry point of the group `florilegium.tasks` that names a `Task`, in a
module that imports no more of this package than this one. Knows no task by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "region", "phrase"]
"""The three kinds of FLD-5B (Florence-2 paper, section 4): `text` about the whole image, `region`
(a box, a quad, a mask), `phrase` (a span of a caption with its region)."""
Words = Literal["name", "sentence", "reading", "answer", ""]
"""What the words of an annotation are: a name, free text, text that stands in the image, the answer
to a question (the question is its `text`, the answer its `label`), none."""

GREY = "#8c8c8c"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Florence2Prompt:
    """How Florence-2 is asked: the marker of the published processor and its English prompt, in
    which `{input}` stands for the text or region that the task takes."""

    marker: str
    prompt: str
    takes: Literal["nothing", "text", "region"] = "nothing"
    answers: Literal["text", "boxes", "quads", "polygons"] = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """All that is known about a task.

    An annotation of it is of `kind` and must have all fields in `needs` and one of those in
    `either`. `words` is what its words are; `is_of_region` tells that it adds to a region which
    another annotation has found: a mask, a description. `is_of_all` tells that it is true because
    all those are that it was merged from: it goes with any of them. `colour` stands beside its name
    in the report. `coco` is what it becomes there: an `instance`, a `caption` or nothing.

    Raises:
        ValueError: the name or the colour is malformed.
    """

    name: str
    kind: Kind
    needs: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    words: Words = ""
    is_of_region: bool = False
    is_of_all: bool = False
    colour: str = GREY
    florence2: Florence2Prompt | None = None
    coco: Literal["instance", "caption", ""] = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a task is named in lower case letters, digits and _: {self.name!r}")
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError(f"the colour of task {self.name!r} is no #rrggbb: {self.colour!r}")
