"""Samples in two rounds, side by side: dropped, changed and added annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import NAMELESS_TASKS
from florilegium.engine.results.dataset_sample import DatasetSample, read_samples
from florilegium.engine.results.shard_files import Wanted
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import round_folder
from florilegium.pipelines.diff.changes import Change
from florilegium.pipelines.diff.difference import Diff, SampleDiff
from florilegium.pipelines.report.annotations import area_of, around, outline_of
from florilegium.pipelines.report.chips import Chip, Rectangle, place_chip
from florilegium.pipelines.report.drawing import Canvas, jpeg_uri
from florilegium.pipelines.report.plates import pixels_of

LONG_SIDE = 400
"""Units of a panel's longer side."""
MAX_LISTED_CHANGES = 10
"""Changes of a sample that are listed as text."""
SAME = "same"
_LAYERS = (SAME, "changed", "dropped", "added")  # drawn in this order


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A region in one round: an SVG path, its form, and how it changed (`how`)."""

    path: str
    form: str
    how: str
    tip: str
    chip: Chip | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A sample in one round."""

    round: int
    marks: tuple[Mark, ...]
    summary: str


@dataclass(frozen=True, kw_only=True)
class ChangeText:
    """A change as text; `moved` gives the overlap if only the region changed."""

    how: str
    tasks: str
    old: str
    new: str
    moved: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A sample before and after; `more` changes are not listed."""

    number: int
    key: str
    canvas: Canvas
    image_uri: str
    panels: tuple[Panel, Panel]
    texts: tuple[ChangeText, ...]
    more: int
    failure: str


def compare_samples(output: Folder, diff: Diff) -> list[Comparison]:
    """Draw the samples that changed most in both rounds, most changes first."""
    images = dict(_images(output, diff.samples))
    found = enumerate(diff.samples, start=1)
    return [_comparison(diff, one, number, images[one.key]) for number, one in found]


def _images(output: Folder, samples: Sequence[SampleDiff]) -> Iterator[tuple[str, DatasetSample]]:
    """Yield the stored samples by key; each shard is read once."""
    wanted: dict[tuple[int, str], set[str]] = {}
    for one in samples:
        wanted.setdefault((one.round, one.shard), set()).add(one.key)
    for (number, shard), keys in wanted.items():
        for sample in read_samples(round_folder(output, number), shard, Wanted(keys=keys)):
            yield sample.key, sample


def _comparison(diff: Diff, one: SampleDiff, number: int, sample: DatasetSample) -> Comparison:
    pixels, failure = pixels_of(sample.image)
    canvas = Canvas.over((sample.width, sample.height), LONG_SIDE)
    changes = sorted(one.found.changes, key=lambda change: -change.weight)
    texts = _texts(changes)
    stayed = [(SAME, label) for label in one.found.same]
    before = [(change.how, change.before) for change in changes if change.before]
    after = [(change.how, change.after) for change in changes if change.after]
    return Comparison(
        number=number,
        key=one.key,
        canvas=canvas,
        image_uri=jpeg_uri(pixels, 2 * LONG_SIDE),
        panels=(
            _panel(diff.before, [*stayed, *before], canvas),
            _panel(diff.after, [*stayed, *after], canvas),
        ),
        texts=tuple(texts[:MAX_LISTED_CHANGES]),
        more=max(0, len(texts) - MAX_LISTED_CHANGES),
        failure=failure,
    )


def _panel(number: int, labels: Sequence[tuple[str, Annotation]], canvas: Canvas) -> Panel:
    """Draw regions: changed ones over unchanged ones, small ones over large ones."""
    drawn = [(how, one, outline) for how, one in labels if (outline := outline_of(one, canvas))]
    drawn.sort(key=lambda mark: (_LAYERS.index(mark[0]), -area_of(mark[2])))
    marks: dict[tuple[str, str], Mark] = {}
    taken: list[Rectangle] = []
    for how, one, (path, form, corners) in drawn:
        words = one.words
        chip = None
        if words and how != SAME and one.task not in NAMELESS_TASKS and (how, path) not in marks:
            chip = place_chip(words, around((path, form, corners)), canvas, taken)
            chip = None if chip.is_crowded else chip
            taken += [chip.rectangle] if chip else []
        tip = ": ".join(filter(None, (f"{how}, {one.task.replace('_', ' ')}", words)))
        marks.setdefault((how, path), Mark(path=path, form=form, how=how, tip=tip, chip=chip))
    counts = Counter(how for how, _, _ in drawn)
    summary = ", ".join(f"{counts[how]} {how}" for how in reversed(_LAYERS) if counts[how])
    return Panel(round=number, marks=tuple(marks.values()), summary=summary or "no regions")


def _texts(changes: Sequence[Change]) -> list[ChangeText]:
    """Describe changes; the same change in several tasks, such as box and mask, is listed once."""
    tasks: dict[tuple[str, str, str, str], Counter[str]] = {}
    for change in changes:
        old, new = (one.words if one else "" for one in (change.before, change.after))
        is_moved = change.overlap is not None and not change.is_reworded
        moved = f"moved, overlap {change.overlap:.2f}" if is_moved else ""
        counts = tasks.setdefault((change.how, old, new, moved), Counter())
        counts[change.task.replace("_", " ")] += 1
    return [
        ChangeText(how=how, tasks=_listed(counts), old=old, new=new, moved=moved)
        for (how, old, new, moved), counts in tasks.items()
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{task} ({count})" if count > 1 else task for task, count in counts.items())
