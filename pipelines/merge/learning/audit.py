"""An audit: annotations that a person judged right or wrong.

A JSON line each: `{"id": "9f2c...", "right": true}`, perhaps with more keys for people;
`"right": null` is not judged yet. The judgement of one annotation also holds for others of the
same sample with the same text and nearly the same box; masks and quads are compared by their boxes.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.documents import parse_json
from florilegium.pipelines.merge.calibration import read_file
from florilegium.specialists.regions.likeness import (
    SAME_PLACE,
    box_of,
    place_overlap,
    words_of,
)


class LabelledSample(Protocol):
    """A sample with its annotations: the engine's, or that of a finished dataset."""

    @property
    def key(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def annotations(self) -> tuple[Annotation, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Which annotations are right, by id. `path` is where the audit was read; `keys` are those of
    the samples, by id, in lines that name one."""

    right: Mapping[str, bool]
    path: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.right)

    def of(self, annotations: Iterable[Annotation]) -> list[Annotation]:
        """Return the annotations that were audited."""
        return [one for one in annotations if one.id in self.right]

    def check(self, known: set[str], taken_down: Collection[str] = ()) -> None:
        """Refuse an audit of annotations that do not exist; those of samples with the keys
        `taken_down` did, once.

        Raises:
            ConfigError: some ids are unknown.
        """
        gone = {name for name in self.right if self.keys.get(name) in taken_down}
        unknown = sorted(set(self.right) - known - gone)
        if unknown:
            few = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            audited = counted(len(self.right), "annotation")
            raise ConfigError(
                f"the audit {self.path} names {len(unknown)} of {audited} that do not exist here: "
                f"{few}. Ids change with the options of their stage: audit this run's own "
                f"annotations, or remove these lines"
            )


def read_audit(url: str) -> Audit:
    """Read an audit file, a path or an fsspec URL.

    Raises:
        ConfigError: the file does not exist, a line is malformed, two lines contradict, or no
            annotation is judged yet.
    """
    data = read_file(url)
    if data is None:
        raise ConfigError(
            f"the audit {url} is not there: `florilegium refine CONFIG --until candidates` makes "
            f"a file to fill in; or merge without `audit`"
        )
    right = answers_in(data, url)
    if not right:
        raise ConfigError(
            f"the audit {url} answers nothing yet: put true or false after `right` in some lines"
        )
    return Audit(right=right, path=url, keys=dict(_keys_in(data)))


def answers_in(data: bytes, url: str) -> dict[str, bool]:
    """Return whether annotations are right, by id, from an audit file; empty lines are skipped.

    Raises:
        ConfigError: a line is malformed, or two lines contradict.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"the audit {url} is not UTF-8 text: {error}") from error
    right: dict[str, bool] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            name, is_right = _finding(line, f"{url}, line {number}")
            if is_right is not None and right.setdefault(name, is_right) != is_right:
                raise ConfigError(
                    f"the audit {url}, line {number}: {name!r} was found otherwise before"
                )
    return right


def _keys_in(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the id and the key of the sample in each line that has both."""
    for line in filter(bytes.strip, data.removeprefix(BOM_UTF8).split(b"\n")):
        row = parse_json(line)
        if isinstance(key := row.get("key"), str):
            yield row["id"], key


def _finding(line: str, where: str) -> tuple[str, bool | None]:
    try:
        row = parse_json(line.encode("utf-8", "surrogatepass"))
    except ValueError:
        row = None
    if isinstance(row, dict):
        name, is_right = row.get("id"), row.get("right", "")
        if isinstance(name, str) and name and isinstance(is_right, bool | None):
            return name, is_right
    raise ConfigError(
        f'{where}: {line[:80]!r} is not of the form {{"id": "9f2c...", "right": true}}'
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """The audited annotations of one sample and task: row by id, text, box (n, 4), right or wrong.

    `thing` numbers the objects of the right ones: equal numbers are the same object, -1 is wrong.
    """

    ids: Mapping[str, int]
    words: np.ndarray
    box_xyxy: np.ndarray
    is_right: np.ndarray
    thing: np.ndarray

    @property
    def things(self) -> int:
        """The number of different objects among the right annotations."""
        return int(self.thing.max(initial=-1)) + 1

    def of(self, annotations: Sequence[Annotation]) -> tuple[np.ndarray, np.ndarray]:
        """Judge annotations of this sample: by their own audit, else as `carried_over`.

        Returns:
            1 right, 0 wrong, NaN unknown, (m,); and the number of the object, -1 for none, (m,).
        """
        words = [words_of(one) for one in annotations]
        boxes = np.array([box_of(one) for one in annotations]).reshape(-1, 4)
        verdict, thing = self.carried_over(words, boxes)
        row = np.array([self.ids.get(one.id, -1) for one in annotations], dtype=np.int64)
        is_own = row >= 0
        verdict[is_own], thing[is_own] = self.is_right[row[is_own]], self.thing[row[is_own]]
        return verdict, thing

    def carried_over(
        self, words: Sequence[str] | np.ndarray, box_xyxy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge annotations of this sample by audited ones; returns the same as `of`.

        Right: it overlaps a right annotation with the same text by `SAME_PLACE` or more.
        Wrong: it overlaps no such right annotation, but a wrong one.
        Unknown: it overlaps neither.
        """
        is_same = np.array(words, dtype=object)[:, None] == self.words
        iou = place_overlap(box_xyxy, self.box_xyxy) * is_same
        right = np.pad(iou * self.is_right, ((0, 0), (0, 1)))
        wrong = np.pad(iou * ~self.is_right, ((0, 0), (0, 1)))
        is_right = right.max(axis=1) >= SAME_PLACE
        is_wrong = wrong.max(axis=1) >= SAME_PLACE
        thing = np.append(self.thing, -1)[right.argmax(axis=1)]
        return np.select([is_right, is_wrong], [1.0, 0.0], np.nan), np.where(is_right, thing, -1)


def findings(audit: Audit, annotations: Iterable[Annotation], task: str) -> Findings:
    """Return the audited annotations of a sample for one task."""
    audited = [one for one in audit.of(annotations) if one.task == task]
    is_right = np.array([audit.right[one.id] for one in audited], dtype=bool)
    boxes = np.array([box_of(one) for one in audited]).reshape(-1, 4)
    words = np.array([words_of(one) for one in audited], dtype=object)
    return Findings(
        ids={one.id: row for row, one in enumerate(audited)},
        words=words,
        box_xyxy=boxes,
        is_right=is_right,
        thing=_things(words, boxes, is_right),
    )


def _things(words: np.ndarray, box_xyxy: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Number the objects of the right annotations, -1 for wrong ones, (n,)."""
    iou = place_overlap(box_xyxy, box_xyxy)
    is_same = (iou >= SAME_PLACE) & (words[:, None] == words)
    thing = np.full(len(words), -1)
    for row in np.flatnonzero(is_right):
        if thing[row] < 0:
            thing[is_same[row] & is_right & (thing < 0)] = thing.max() + 1
    return thing
