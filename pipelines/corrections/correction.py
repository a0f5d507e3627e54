"""A correction: what a person said about one annotation of an image, or added to the image.

One JSON line each, with the fields of `Correction`:

    {"about": {...}, "annotation": {...}, "finding": "changed", "id": "9f2c...", "key": "cat",
     "sha256": "5d41...", "tool": "label-studio", "when": "2026-01-31T12:00:00Z", "who": "Ada"}

This module knows no file, no tool and no stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from florilegium.engine.core.annotation import (
    ANNOTATION_NAMES,
    COORDINATE_DECIMALS,
    Annotation,
    Provenance,
    from_json,
)
from florilegium.engine.core.keys import is_key
from florilegium.engine.core.sample import digest_of
from florilegium.engine.core.validity import problem_of
from florilegium.engine.storage.documents import parse_json

Finding = Literal["confirmed", "changed", "rejected", "added"]
"""What a person found: right as it is, wrong with a better one, wrong, or missing."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{16}")
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MAX_NAME = 200
"""Characters of the name of a person or a tool, at most."""
_GIVEN_BY_ENGINE = (
    *("id", "merged_from", "score", "support", "confidence"),
    *(one.name for one in fields(Provenance)),
)
"""Fields of an annotation that no person states."""
_BLANK: dict[str, Any] = {
    one.name: one.default for one in fields(Annotation) if one.name in _GIVEN_BY_ENGINE
}


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person said about an image of a dataset.

    `sha256` is that of the image's bytes in the source, and `key` its key. `about` is the
    annotation that it is about, as the dataset had it, `None` for one that was added; `annotation`
    is what is right instead, for one that was changed or added. That has no score, no confidence
    and no provenance: those are of people. `who` names the person, `when` is the time in UTC to
    the second, `tool` where it was said, such as `label-studio`.
    """

    sha256: str
    key: str
    finding: Finding
    about: Annotation | None = None
    annotation: Annotation | None = None
    who: str
    when: str
    tool: str

    @cached_property
    def id(self) -> str:
        """Its 16 hex digits, by its content: also the id of the annotation that it makes."""
        return digest_of([_to_text(self._content())])[:16]

    @cached_property
    def meaning(self) -> str:
        """A digest of what was said, whoever said it and whenever."""
        content = {**self._content(), "who": "", "when": "", "tool": ""}
        about = self.about.id if self.about else ""
        return digest_of([_to_text({**content, "about": about, "key": ""})])

    def to_line(self) -> bytes:
        """Return it as a line of JSON, with the line's end."""
        return _to_text({**self._content(), "id": self.id}).encode() + b"\n"

    def problem(self) -> str:
        """Return what is wrong with it, or `""`."""
        return _problem(self)

    def _content(self) -> dict[str, Any]:
        return {
            "sha256": self.sha256,
            "key": self.key,
            "finding": self.finding,
            "about": _to_json(self.about),
            "annotation": _to_json(self.annotation),
            "who": self.who,
            "when": self.when,
            "tool": self.tool,
        }


def stated(annotation: Annotation) -> Annotation:
    """Return only what a person can state of an annotation: its content, as it is stored."""
    return replace(
        annotation,
        **_BLANK,
        box_xyxy=_rounded(annotation.box_xyxy),
        quad=_rounded(annotation.quad),
        span=tuple(map(int, annotation.span)),
    )


def is_name(value: Any) -> bool:
    """Return whether a value names a person or a tool: 1 to 200 printable characters."""
    return (
        isinstance(value, str)
        and bool(value.strip())
        and value.isprintable()
        and len(value) <= _MAX_NAME
    )


def parse_correction(line: bytes) -> Correction:
    """Read a line back.

    Raises:
        ValueError: it is none, or was changed after it was written.
    """
    row = parse_json(line)
    names = {*(one.name for one in fields(Correction)), "id"}
    if not isinstance(row, Mapping) or row.keys() != names:
        raise ValueError(f"it has not the fields {', '.join(sorted(names))}")
    try:
        own = {name: value for name, value in row.items() if name != "id"}
        own |= {name: _from_json(row[name]) for name in ("about", "annotation")}
        correction = Correction(**own)
        problem = correction.problem()
        if not problem and correction.id != row["id"]:
            problem = "it was changed after it was written: its id differs"
    except (AttributeError, KeyError, LookupError, TypeError) as error:
        raise ValueError(f"it is no correction: {type(error).__name__}: {error}") from error
    if problem:
        raise ValueError(problem)
    return correction


def _problem(one: Correction) -> str:
    if not (isinstance(one.sha256, str) and _SHA256.fullmatch(one.sha256)):
        return "`sha256` is not that of an image"
    if not is_key(one.key):
        return "`key` is no key of a sample"
    if one.finding not in get_args(Finding):
        return f"`finding` is none of {', '.join(get_args(Finding))}"
    for name in ("who", "tool"):
        if not is_name(getattr(one, name)):
            return f"`{name}` is no name of 1 to {_MAX_NAME} printable characters"
    if not (isinstance(one.when, str) and _WHEN.fullmatch(one.when)):
        return "`when` is no time such as 2026-01-31T12:00:00Z"
    if (one.about is None) != (one.finding == "added"):
        return f"`about` does not fit the finding {one.finding}"
    if (one.annotation is None) != (one.finding in ("confirmed", "rejected")):
        return f"`annotation` does not fit the finding {one.finding}"
    if one.about is not None and not _ID.fullmatch(one.about.id):
        return "the annotation that it is about has no id"
    for name in ("about", "annotation"):
        annotation = getattr(one, name)
        if annotation is not None and (problem := problem_of(annotation)):
            return f"`{name}`: {problem}"
    if one.annotation is not None and one.annotation != stated(one.annotation):
        return "`annotation` has fields that no person states"
    return ""


def _to_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _to_json(annotation: Annotation | None) -> dict[str, Any] | None:
    if annotation is None:
        return None
    values = {name: getattr(annotation, name) for name in ANNOTATION_NAMES}
    mask = annotation.mask_rle
    return {**values, "mask_rle": mask and mask._asdict()}


def _from_json(row: Any) -> Annotation | None:
    if row is None:
        return None
    if not isinstance(row, Mapping) or row.keys() != set(ANNOTATION_NAMES):
        raise ValueError("it has not the fields of an annotation")
    return from_json(dict(row))


def _rounded(coordinates: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(float(value), COORDINATE_DECIMALS) for value in coordinates)
