"""Whether a new version keeps to the limits of its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from florilegium.engine.execution.losses import lost
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.pipelines.dataset.refreshed import Exceeded, Refreshed
from florilegium.pipelines.refresh.options import RefreshLimits

_CLOSE = 1e-9  # 0.29 * 100 is less than 29


def exceeded(record: Refreshed, limits: RefreshLimits) -> Iterator[Exceeded]:
    """Yield the limits that a version exceeds; there is a version before it.

    Images that were taken down are not missed: no takedown is held back for its own sake.
    """
    images, after = record.images, _with_taken_down(record)
    if limits.min_images is not None and after < limits.min_images:
        yield Exceeded(limit="min_images", value=after, allowed=limits.min_images)
    gone, spent = images.dropped - images.taken_down, record.spent.total_money
    numbers = (
        ("max_dropped_share", _share(gone, images.before), limits.max_dropped_share),
        ("max_changed_share", _share(images.changed, images.before), limits.max_changed_share),
        (
            "max_dead_letter_share_increase",
            _increase(record),
            limits.max_dead_letter_share_increase,
        ),
        ("max_money", spent, limits.max_money),
    )
    for name, value, allowed in numbers:
        yield from _beyond(name, "", value, allowed)
    for task, counts in record.annotations.items():
        change = _change(_share(counts.before, images.before), _share(counts.after, images.after))
        yield from _beyond("max_annotation_change", task, change, limits.annotation_change(task))
    for name, drift in record.drift.items():
        if min(drift.before, drift.after) >= limits.min_values:
            yield from _beyond("max_drift", name, drift.version, limits.max_drift)
        if min(drift.before, drift.new) >= limits.min_values:
            yield from _beyond("max_drift_of_new", name, drift.of_new, limits.max_drift_of_new)


def too_many_lost(manifest: Manifest, max_share: float) -> Iterator[Exceeded]:
    """Yield the limit of the run on dead letters, if a version exceeds it."""
    failed = sum(1 for _ in lost(letter for _, letter in manifest.dead_letters))
    share = _share(failed, manifest.totals.samples + failed)
    yield from _beyond("max_dead_letter_share", "", share, max_share)


def _beyond(
    limit: str, subject: str, value: float | None, allowed: float | None
) -> Iterator[Exceeded]:
    if value is not None and allowed is not None and value > allowed + _CLOSE:
        yield Exceeded(limit=limit, subject=subject, value=round(value, 6), allowed=allowed)


def _increase(record: Refreshed) -> float:
    """Return by how much the share of inputs that became dead letters rose."""
    before, after = (
        _share(letters, letters + images)
        for letters, images in (
            (_sum(record.dead_letters["before"]), record.images.before),
            (_sum(record.dead_letters["after"]), _with_taken_down(record)),
        )
    )
    return after - before


def _with_taken_down(record: Refreshed) -> int:
    """Return the images of a version, those that were taken down with it included."""
    return record.images.after + record.images.taken_down


def _change(before: float, after: float) -> float | None:
    """Return the relative change of annotations per image; `None` for a task that is new."""
    return abs(after - before) / before if before else None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _sum(counts: Mapping[str, int]) -> int:
    return sum(count for reason, count in counts.items() if reason != TAKEN_DOWN)
