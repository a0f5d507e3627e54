"""The labels that a source brings for one image, as annotations and as metadata.

Knows the shapes in which datasets write them down: captions, the `objects` of Hugging Face and
the `annotations` of our own output. Knows no files. What cannot be used is never lost silently:
the metadata says so under `label_error`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.annotation import ANNOTATION_NAMES, Annotation, from_json
from engine.sources.metadata import metadata_json, with_problems
from engine.sources.objects import read_objects
from engine.sources.text import NotText, check_text, decoded
from engine.validity import problem_of

OBJECTS = "objects"
CAPTION_COLUMNS = ("text", "caption")
"""The columns of a sheet that hold captions; the first that says something counts."""
CROWDS = "crowd_regions_left_out"
"""The metadata key that counts regions marked as crowds, which become no detections."""

_ANY_SIZE = 1 << 62
_PROVENANCE = dict.fromkeys(("specialist", "model", "revision", "stage"), "")
_CONTRACT_KEYS = frozenset({"kind", "task", "box_xyxy", "parent_id", "specialist"})


class Labels:
    """What is said about one image in all the places where its source says something."""

    def __init__(self, encoding: str = "") -> None:
        self.metadata: dict[str, Any] = {}
        self.annotations: list[Annotation] = []
        self.problems: list[str] = []
        self._encoding = encoding

    def add_caption(self, value: object, *, name: str = "caption") -> None:
        """Add a caption, or a list of them; empty ones and those already said say nothing."""
        for text in value if isinstance(value, list | tuple) else [value]:
            try:
                caption = self._text(text).strip()
            except NotText as error:
                self.problems.append(f"{name}: {error}")
                continue
            if caption and caption not in {known.text for known in self.annotations}:
                self.annotations.append(Annotation(kind="text", task="caption", text=caption))

    def add_row(self, row: Mapping[str, Any], *, captions: Iterable[str] = CAPTION_COLUMNS) -> None:
        """Add a row of a table: its captions, its `objects`, and all else as metadata."""
        metadata = dict(row)
        spoken = next((name for name in captions if metadata.get(name)), None)
        if spoken is not None:
            self.add_caption(metadata[spoken], name=spoken)
            metadata[spoken] = self._readable(metadata[spoken])
        for name in sorted(metadata.keys() - {spoken, OBJECTS}):
            if isinstance(metadata[name], bytes):
                metadata[name] = self._decoded(name, metadata[name])
        if metadata.get(OBJECTS) is None or self._add_objects(metadata):
            metadata.pop(OBJECTS, None)
        self.add_metadata(metadata)

    def add_text(self, name: str, data: bytes) -> None:
        """Add a small text as metadata."""
        text = self._decoded(name, data)
        if isinstance(text, str):
            self.metadata.setdefault(name, text)

    def add_json(self, data: bytes) -> None:
        """Add a JSON object as metadata; that of our own output gives its annotations back."""
        try:
            values = json.loads(decoded(data, self._encoding))
        except (ValueError, RecursionError) as error:
            self.problems.append(f"json: {error}")
            return
        if not isinstance(values, dict):
            self.add_metadata({"json": values})
        elif is_contract(values.get("annotations")):
            self._add_contract(values)
        else:
            self.add_metadata(values)

    def add_metadata(self, values: dict[str, Any]) -> None:
        """Take the metadata of a place; that of a second row stays apart under `more_rows`."""
        if not self.metadata.keys() - {CROWDS}:
            self.metadata |= values
        elif values != {name: self.metadata.get(name) for name in values}:
            self.metadata.setdefault("more_rows", []).append(values)

    def _decoded(self, name: str, data: bytes) -> str | bytes:
        try:
            return decoded(data, self._encoding)
        except NotText as error:
            self.problems.append(f"{name}: {error}")
            return data

    def finish(self) -> tuple[str, tuple[Annotation, ...]]:
        """Return the metadata, as JSON text with what could not be used, and the annotations."""
        return metadata_json(with_problems(self.metadata, self.problems)), tuple(self.annotations)

    def _add_objects(self, metadata: dict[str, Any]) -> bool:
        """Add the objects; whether nothing about them is left to keep in the metadata."""
        try:
            value = metadata[OBJECTS]
            if isinstance(value, str | bytes):  # a cell of a CSV file
                value = metadata[OBJECTS] = json.loads(self._text(value))
            found = read_objects(value, self._encoding)
        except (ValueError, RecursionError) as error:
            self.problems.append(f"objects: {error}")
            return False
        self.annotations += [one for one in found.annotations if one not in self.annotations]
        if found.problems:
            self.problems.append(
                f"objects: {len(found.problems)} of {found.count} boxes left out: "
                f"{found.problems[0]}"
            )
        if found.crowds:
            self.metadata[CROWDS] = self.metadata.get(CROWDS, 0) + found.crowds
        return found.is_all

    def _add_contract(self, values: Mapping[str, Any]) -> None:
        annotations, problems = contract(values["annotations"])
        self.annotations += annotations
        self.problems += problems
        self.metadata["source"] = values.get("source")
        try:
            before = json.loads(str(values.get("metadata", "{}")))
            if not isinstance(before, dict):
                raise ValueError("it is not a JSON object")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"metadata: {error}")
        else:
            self.metadata |= before

    def _text(self, value: object) -> str:
        if value is None or value != value:  # NaN stands for nothing in a table
            return ""
        if isinstance(value, bytes):
            return decoded(value, self._encoding)
        if isinstance(value, str):
            return check_text(value)
        raise NotText(f"a value of type {type(value).__name__}")

    def _readable(self, value: object) -> object:
        """Return bytes that are text as text."""
        if isinstance(value, list | tuple):
            return [self._readable(item) for item in value]
        try:
            return self._text(value) if isinstance(value, bytes) else value
        except NotText:
            return value


def is_contract(value: object) -> bool:
    """Whether a value is the `annotations` list of a dataset that this engine wrote.

    One entry that is whole tells it, for another may be the bad one.
    """
    return isinstance(value, list) and any(
        isinstance(row, dict) and row.keys() >= _CONTRACT_KEYS for row in value
    )


def contract(rows: Sequence[Any]) -> tuple[tuple[Annotation, ...], list[str]]:
    """Turn annotations of our own output back into what a source says: without provenance.

    An `id` stays only as the name by which a `parent_id` of the same list finds it. Also returns
    what is to be told of entries that do not keep to the contract.
    """
    annotations: list[Annotation] = []
    broken: list[str] = []
    for row in rows:
        try:
            annotations.append(_annotation(row))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            broken.append(f"{error!r:.200}")
    # The size of the image is not known here: boxes and masks are held against it later.
    kept, problems = without_bad(annotations, _problem_at_any_size)
    problems = broken + problems
    if not problems:
        return kept, []
    told = f"{len(problems)} of {len(rows)} do not keep to the contract: {problems[0]}"
    return kept, [f"annotations: {told}"]


def without_bad(
    annotations: Sequence[Annotation], problem_with: Callable[[Annotation], str]
) -> tuple[tuple[Annotation, ...], list[str]]:
    """Leave out annotations that have a problem; return the others, and the problems.

    A `parent_id` that leads to one of them is emptied. What cannot be without its parent, such
    as a phrase without its caption, goes with it.
    """
    kept, problems, left = list(annotations), [], -1
    while left != len(kept):
        left = len(kept)
        names = {one.id for one in kept if isinstance(one.id, str)}
        kept = [
            replace(one, parent_id="")
            if isinstance(one.parent_id, str) and one.parent_id not in names
            else one
            for one in kept
        ]
        verdicts = [problem_with(one) for one in kept]
        problems += [verdict for verdict in verdicts if verdict]
        kept = [one for one, verdict in zip(kept, verdicts, strict=True) if not verdict]
    return tuple(kept), problems


def _annotation(row: Any) -> Annotation:
    """Build an annotation from an entry of the contract.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, OverflowError: it is not of that shape.
    """
    missing = _CONTRACT_KEYS - row.keys()
    if missing:
        raise ValueError(f"no {sorted(missing)[0]}")
    cleared: dict[str, Any] = {**_PROVENANCE, "round": 0, "merged_from": (), "confidence": None}
    known = {name: row[name] for name in ANNOTATION_NAMES if name in row}
    return from_json({**known, **cleared})


def _problem_at_any_size(annotation: Annotation) -> str:
    return problem_of(replace(annotation, mask_rle=None), width=_ANY_SIZE, height=_ANY_SIZE)
