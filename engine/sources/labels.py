"""The labels of a source for one image, as annotations and as metadata.

Knows the formats of labels: captions, the `objects` of Hugging Face and the `annotations` of a
finished dataset. Knows no files. Labels that cannot be used are named in the metadata, under
`label_error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.metadata import metadata_json, with_problems
from florilegium.engine.sources.objects import DETECTION, read_objects
from florilegium.engine.sources.own_output import contract, is_contract
from florilegium.engine.sources.text import NotText, check_text, decoded
from florilegium.engine.untrusted.bounded_json import parsed
from florilegium.engine.untrusted.escaped import has_ink

OBJECTS = "objects"
CAPTION_COLUMNS = ("text", "caption")
"""The columns of a sheet that hold captions; the first that is not empty counts."""
CROWDS = "crowd_regions_left_out"
"""The metadata key with the number of crowd regions, which become no detections."""
MORE_ROWS = "more_rows"
"""The metadata key of the values of further rows of the same image."""


@dataclass(frozen=True)
class Unread:
    """A value of a table that cannot be read, and why."""

    problem: str


class Moment(str):
    """A time, a date or a span of a table as text: metadata, and never a caption."""


class Labels:
    """Collects the labels of one image from all files of its source."""

    def __init__(self, encoding: str = "", limits: Limits | None = None) -> None:
        self.metadata: dict[str, Any] = {}
        self.annotations: list[Annotation] = []
        self.problems: list[str] = []
        self._encoding = encoding
        self._limits = limits or Limits()
        self._captions: set[str] = set()
        self._more_rows: list[dict[str, Any]] = []
        self._crowds = 0
        self._beyond = 0

    def add_caption(self, value: object, *, name: str = "caption") -> None:
        """Add a caption, or a list of them; empty and repeated ones are ignored."""
        for text in value if isinstance(value, list | tuple) else [value]:
            try:
                caption = self._text(text).strip()
            except NotText as error:
                self.problems.append(f"{name}: {error}")
                continue
            if caption and not has_ink(caption):
                self.problems.append(f"{name}: {len(caption)} characters, none of which is seen")
            elif caption and caption not in self._captions:
                self._take([Annotation(kind="text", task="caption", text=caption)], name)

    def add_row(self, row: Mapping[str, Any], *, captions: Iterable[str] = CAPTION_COLUMNS) -> None:
        """Add a row of a table: its captions, its `objects`, and all other values as metadata."""
        metadata = {}
        for name, value in row.items():
            if isinstance(value, Unread):
                self.problems.append(f"{name}: {value.problem}")
            else:
                metadata[name] = value
        caption_key = next((name for name in captions if metadata.get(name)), None)
        if caption_key is not None:
            self.add_caption(metadata[caption_key], name=caption_key)
            metadata[caption_key] = self._readable(metadata[caption_key])
        for name in sorted(metadata.keys() - {caption_key, OBJECTS}):
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
        """Add a JSON object as metadata; one of a finished dataset gives annotations."""
        try:
            values = self._parsed(decoded(data, self._encoding))
        except ValueError as error:
            self.problems.append(f"json: {error}")
            return
        if not isinstance(values, dict):
            self.add_metadata({"json": values})
        elif is_contract(values.get("annotations")):
            self._add_contract(values)
        else:
            self.add_metadata(values)

    def add_metadata(self, values: dict[str, Any]) -> None:
        """Add metadata of one file or row; that of further rows goes under `more_rows`."""
        if not self.metadata:
            self.metadata |= values
        elif values != {name: self.metadata.get(name) for name in values}:
            self._more_rows.append(values)

    def _decoded(self, name: str, data: bytes) -> str | bytes:
        try:
            return decoded(data, self._encoding)
        except NotText as error:
            self.problems.append(f"{name}: {error}")
            return data

    def finish(self) -> tuple[str, tuple[Annotation, ...]]:
        """Return the metadata as JSON text, with labels that could not be used, and the
        annotations."""
        if self._beyond:
            limit = self._limits.max_annotations
            self.problems.append(f"{self._beyond} annotations beyond the limit of {limit}")
        # The engine's own keys replace those of the source with the same name.
        own = {MORE_ROWS: self._more_rows, CROWDS: self._crowds}
        metadata = self.metadata | {name: value for name, value in own.items() if value}
        return metadata_json(with_problems(metadata, self.problems)), tuple(self.annotations)

    def _add_objects(self, metadata: dict[str, Any]) -> bool:
        """Add the objects; return whether nothing of them has to stay in the metadata."""
        try:
            value = metadata[OBJECTS]
            if isinstance(value, str | bytes):  # a cell of a CSV file
                value = metadata[OBJECTS] = self._parsed(self._text(value))
            found = read_objects(value, self._encoding, most=self._limits.max_annotations)
        except ValueError as error:
            self.problems.append(f"objects: {error}")
            return False
        known = {(one.label, one.box_xyxy) for one in self.annotations if _is_plain_box(one)}
        fresh = [one for one in found.annotations if (one.label, one.box_xyxy) not in known]
        is_whole = self._take(fresh, OBJECTS)
        self._beyond += found.beyond
        if found.problems:
            self.problems.append(
                f"objects: {len(found.problems)} of {found.count} boxes left out: "
                f"{found.problems[0]}"
            )
        self._crowds += found.crowds
        return found.is_all and is_whole

    def _add_contract(self, values: Mapping[str, Any]) -> None:
        annotations, problems = contract(values["annotations"])
        self._take(annotations, "annotations")
        self.problems += problems
        self.metadata["source"] = values.get("source")
        try:
            before = self._parsed(str(values.get("metadata", "{}")))
            if not isinstance(before, dict):
                raise ValueError("it is not a JSON object")
        except ValueError as error:
            self.problems.append(f"metadata: {error}")
        else:
            self.metadata |= before

    def _take(self, annotations: Iterable[Annotation], name: str) -> bool:
        """Add annotations within the limits; return whether these are all."""
        most = self._limits.max_caption_characters
        is_whole = True
        for one in annotations:
            longest = max(len(one.text), len(one.label), len(one.language))
            if longest > most:
                self.problems.append(f"{name}: {longest} characters, the limit is {most}")
            elif len(self.annotations) >= self._limits.max_annotations:
                self._beyond += 1
            else:
                self.annotations.append(one)
                self._captions.add(one.text)
                continue
            is_whole = False
        return is_whole

    def _parsed(self, text: str) -> Any:
        limits = self._limits
        return parsed(
            text,
            max_depth=limits.max_json_depth,
            max_values=limits.max_json_values,
            has_unique_keys=True,
        )

    def _text(self, value: object) -> str:
        if value is None or value != value:  # NaN is a missing value in a table
            return ""
        if isinstance(value, bytes):
            return decoded(value, self._encoding)
        if isinstance(value, str) and not isinstance(value, Moment):
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


def _is_plain_box(one: Annotation) -> bool:
    """Whether an annotation has only fields that an entry of `objects` has."""
    return one == Annotation(kind=one.kind, task=DETECTION, label=one.label, box_xyxy=one.box_xyxy)
