"""How far an audit is: estimates with intervals, for each kind of annotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from florilegium.pipelines.audit.estimate import Share, precision, recall
from florilegium.pipelines.audit.findings import Agreement, Findings, agreements
from florilegium.pipelines.audit.image_order import ImageOrder
from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.audit.queue import sampled


@dataclass(frozen=True, kw_only=True)
class KindProgress:
    """The precision of what a specialist says for a task."""

    task: str
    specialist: str
    precision: Share


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """The share of the things of a task that the dataset has."""

    task: str
    recall: Share


@dataclass(frozen=True, kw_only=True)
class Progress:
    """All estimates; `own` are the answers of one person, `answered` those of all, by queue."""

    own: int
    by_random: int
    by_gain: int
    images: int
    people: tuple[str, ...]
    precision: tuple[KindProgress, ...]
    recall: tuple[TaskProgress, ...]
    agreement: tuple[Agreement, ...]
    notes: tuple[str, ...] = ()


def progress_of(
    pool: Pool,
    images: ImageOrder,
    findings: Findings,
    person: str,
    missing_tasks: Sequence[str],
    notes: Iterable[str] = (),
) -> Progress:
    """Sum up the answers of all people."""
    asked = findings.asked(pool)
    is_sampled = sampled(pool, asked)
    searched = searched_images(images, findings)
    people = {name for one in findings.statements.values() for name in one}
    people |= {name for one in findings.images.values() for name in one}
    return Progress(
        own=sum(person in one for one in findings.statements.values()),
        by_random=int(asked.by_random.sum()),
        by_gain=int(asked.by_gain.sum()),
        images=len(searched),
        people=tuple(sorted(people)),
        precision=tuple(
            KindProgress(
                task=task,
                specialist=specialist,
                precision=precision(pool, is_sampled, asked.value, number),
            )
            for number, (task, specialist) in enumerate(pool.kinds)
        ),
        recall=tuple(
            TaskProgress(
                task=task,
                recall=recall(
                    pool,
                    is_sampled,
                    asked.value,
                    task=task,
                    missing=[_missing(findings, key, task) for key in searched],
                    images=len(images),
                ),
            )
            for task in missing_tasks
        ),
        agreement=tuple(agreements(findings)),
        notes=tuple(notes),
    )


def searched_images(images: ImageOrder, findings: Findings) -> list[str]:
    """Return the keys of the random sample of images: the beginning of their random order that was
    searched without a gap."""
    keys = []
    for index in range(len(images)):
        key = images.head(index)["key"]
        if not is_searched(findings, key):
            break
        keys.append(key)
    return keys


def is_searched(findings: Findings, key: str) -> bool:
    """Whether somebody searched an image that the random order named."""
    return any(one.queue == "random" for one in findings.images.get(key, {}).values())


def _missing(findings: Findings, key: str, task: str) -> float:
    """Return how many things of a task are missing in an image: of several people the mean."""
    answers = [one for one in findings.images[key].values() if one.queue == "random"]
    counts = [sum(thing.task == task for thing in one.missing) for one in answers]
    return sum(counts) / len(counts)
