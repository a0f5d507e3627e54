"""The log of an audit: what one person answered, as `florilegium serve --audit` keeps it.

The file is `audit/PERSON.jsonl`; its name is the person's. What was right is confirmed, what was
fixed changed, what was wrong rejected, and what was missing added; what was unsure says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.audit.events import (
    EVENT,
    Fix,
    ImageSearched,
    Missing,
    StatementJudged,
    in_force,
)
from florilegium.pipelines.imports.importer import Importer, ReturnedImage, Shape, read_bounded


class AuditImporter(Importer):
    """Reads the log of one person."""

    tool: ClassVar[str] = "florilegium"

    def read(self, path: Path) -> Iterator[ReturnedImage]:
        """Yield an image for each answer that was not taken back.

        Raises:
            ValueError: it is no log, or too large.
        """
        who = unquote(path.stem)
        data = read_bounded(path)
        lines = data[: data.rfind(b"\n") + 1].splitlines()  # the last one may be torn
        try:
            events = [EVENT.validate_json(line) for line in lines if line.strip()]
        except ValidationError as error:
            raise ValueError(f"it is no log of an audit: {error.errors()[0]['msg']}") from error
        for one in in_force(events):
            if isinstance(one, StatementJudged):
                if one.answer != "unsure":
                    yield _judged(one, who)
            elif one.missing:
                yield _searched(one, who)


def _judged(one: StatementJudged, who: str) -> ReturnedImage:
    is_gone = one.answer == "wrong"
    return ReturnedImage(
        name=one.key,
        key=one.key,
        shapes=() if is_gone else (_stated(one.id, one.fix),),
        shown=frozenset({one.id}),
        who=who,
        when=one.at,
    )


def _stated(name: str, fix: Fix | None) -> Shape:
    """Return an annotation with what a person changed, nothing if it was right."""
    given = {} if fix is None else {key: value for key, value in dict(fix).items() if value}
    if "box_xyxy" in given:
        given["quad"] = ()  # the box takes its place
    annotation = Annotation(kind="region", task="", **given)
    return Shape(annotation=annotation, fields=tuple(given), id=name)


def _searched(one: ImageSearched, who: str) -> ReturnedImage:
    return ReturnedImage(
        name=one.key,
        key=one.key,
        shapes=tuple(map(_missing, one.missing)),
        who=who,
        when=one.at,
    )


def _missing(one: Missing) -> Shape:
    annotation = Annotation(
        kind="region",
        task=one.task,
        label=one.label,
        text=one.text,
        box_xyxy=one.box_xyxy or (),
    )
    return Shape(annotation=annotation, fields=("label", "text", "box_xyxy"))
