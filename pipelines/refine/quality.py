"""The quality of the labels of a round: against truth, against an audit, or among the voters.

Truth is compared on samples that were not audited. An audit and the voters cover only things that
some stage found: an object that all stages missed costs no recall. A missing caption does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, from_table
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.tasks import CAPTION_TASKS, MASK_TASKS, PHRASE_TASKS
from florilegium.engine.planning.source_opening import urls_of
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import AGREEMENT, AUDIT, TRUTH
from florilegium.pipelines.merge.candidates import BOX_TASKS
from florilegium.pipelines.merge.learning.audit import Audit, findings
from florilegium.pipelines.refine.audits import Auditor, FileAuditor, TruthAuditor
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.shape_world.score.matching import MatchCounts
from florilegium.pipelines.shape_world.score.measure import score_labels, truth_of
from florilegium.pipelines.shape_world.score.score import Score

KINDS: Mapping[str, tuple[str, ...]] = {
    "boxes": BOX_TASKS,
    "masks": MASK_TASKS,
    "ocr": ("ocr",),
    "phrases": PHRASE_TASKS,
    "captions": CAPTION_TASKS,
}
"""Kinds of labels and their tasks."""
_KIND_OF = {task: kind for kind, tasks in KINDS.items() for task in tasks}


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The quality by kind of label, 0..1.

    A kind without annotations is absent; a kind that could not be measured, because none of it was
    audited or the truth has none, is `None`.
    """

    measured_by: str
    by_kind: dict[str, float | None]


def measure(config: RefineConfig, dataset: Folder, auditor: Auditor | None) -> Quality:
    """Measure the labels of a round's dataset.

    Raises:
        ConfigError: `measure` is `audit` without an audit file, or `truth` without known truth or
            without a sample that was not audited.
    """
    how: str = config.refine.measure
    if how == "auto" and isinstance(auditor, TruthAuditor):
        how = TRUTH
    elif how == "auto":
        how = AUDIT if isinstance(auditor, FileAuditor) else AGREEMENT
    if how == TRUTH:
        values = _by_truth(config, dataset, auditor)
    elif how == AUDIT:
        if not isinstance(auditor, FileAuditor):
            raise ConfigError("refine.measure = 'audit' needs a file: set refine.audit to its path")
        values = _f1(_audited(dataset, auditor))
    else:
        values = _f1(_agreed(dataset))
    return Quality(measured_by=how, by_kind=values)


def _by_truth(
    config: RefineConfig, dataset: Folder, auditor: Auditor | None
) -> dict[str, float | None]:
    truth = truth_of(urls_of(config.source))
    keys = auditor.keys if auditor else ()
    score = score_labels(Dataset.of(dataset), truth, without=frozenset(keys))
    if not score.samples:
        raise ConfigError(
            f"all {counted(len(keys), 'sample is', 'samples are')} audited, and none is left to "
            f"measure quality on: set refine.audit_samples below that, or take more samples"
        )
    return by_kind(score)


def by_kind(score: Score) -> dict[str, float | None]:
    """Return one number for each kind of label that has annotations, 0..1, or `None`.

    The F1 of boxes, masks and phrases; for text 1 - character error rate; for captions the mean
    F1 of objects, attributes and relations over the caption tasks that could be measured.
    """
    captions = [caption for caption in score.captions.values() if caption.predicted]
    facts = [
        fact.f1
        for caption in captions
        for fact in (caption.objects, caption.attributes, caption.relations)
        if fact.f1 is not None
    ]
    misread = 1.0 if score.ocr.cer is None else min(score.ocr.cer, 1.0)
    measured = {
        "boxes": (score.boxes.predicted, score.boxes.f1),
        "captions": (len(captions), sum(facts) / len(facts) if facts else None),
        "masks": (score.masks.predicted, score.masks.f1),
        "ocr": (score.ocr.predicted, 1 - misread),
        "phrases": (score.phrases.predicted, score.phrases.f1),
    }
    return {kind: value for kind, (count, value) in measured.items() if count}


def _audited(dataset: Folder, auditor: FileAuditor) -> Iterator[tuple[str, MatchCounts]]:
    """Yield for each sample and task how many of the things audited as right are labelled."""
    for sample in Dataset.of(dataset):
        found = auditor.found(sample.key)
        yield from _against_audit(auditor.audit, found, sample.annotations)


def _agreed(dataset: Folder) -> Iterator[tuple[str, MatchCounts]]:
    """Yield for each sample, voter and task how well the voter agrees with the kept labels.

    With folds, no voter was trained on the sample that it labels. Merged annotations are no votes:
    they would agree with themselves. Every image can be described, so one without a caption of a
    length that others have counts as a miss: captions of a few images are worth less than of all.
    """
    samples, captioned, voted = 0, Counter[str](), set[str]()
    for kept, dropped in _rows(dataset):
        samples += 1
        captioned.update({one.task for one in kept if one.task in CAPTION_TASKS})
        audit = Audit(right=dict.fromkeys((one.id for one in kept), True))
        votes = [one for one in dropped if not one.merged_from]
        voted.update(one.task for one in votes)
        for voter in {one.specialist: None for one in votes}:
            own = [one for one in votes if one.specialist == voter]
            yield from _against_labels(audit, kept, own)
    for task in captioned.keys() & voted:
        yield task, MatchCounts(true=samples - captioned[task])


def _against_audit(
    audit: Audit, audited: Sequence[Annotation], labels: Sequence[Annotation]
) -> Iterator[tuple[str, MatchCounts]]:
    """Compare labels with audited annotations, by task.

    A label that the audit does not cover does not count; a task without labels misses all things.
    """
    for task in _measured_tasks((*labels, *audited)):
        counts, verdict = _matched(audit, audited, labels, task)
        yield task, replace(counts, predicted=int((~np.isnan(verdict)).sum()))


def _against_labels(
    audit: Audit, kept: Sequence[Annotation], votes: Sequence[Annotation]
) -> Iterator[tuple[str, MatchCounts]]:
    """Compare the votes of one voter with the kept labels, for the tasks that it voted on.

    A vote that matches no kept label is wrong.
    """
    for task in _measured_tasks(votes):
        yield task, _matched(audit, kept, votes, task)[0]


def _measured_tasks(annotations: Iterable[Annotation]) -> list[str]:
    return list(dict.fromkeys(one.task for one in annotations if one.task in _KIND_OF))


def _matched(
    audit: Audit, audited: Sequence[Annotation], others: Sequence[Annotation], task: str
) -> tuple[MatchCounts, np.ndarray]:
    """Count the things that `others` found, and return the verdict on each: NaN is unknown."""
    own = [one for one in others if one.task == task]
    found = findings(audit, audited, task)
    verdict, thing = found.of(own)
    right = len(set(thing[thing >= 0].tolist()))
    return MatchCounts(right=right, predicted=len(own), true=found.things), verdict


def _f1(counts: Iterable[tuple[str, MatchCounts]]) -> dict[str, float | None]:
    """Sum up by kind; return the F1 of each, `None` if nothing was compared."""
    totals: dict[str, MatchCounts] = {}
    for task, count in counts:
        totals[_KIND_OF[task]] = totals.get(_KIND_OF[task], MatchCounts()) + count
    return {kind: total.f1 for kind, total in sorted(totals.items())}


def _rows(dataset: Folder) -> Iterator[tuple[list[Annotation], list[Annotation]]]:
    """Yield the kept and the dropped annotations of each sample that has any."""
    columns = ["key", "kept", *ANNOTATION_NAMES]
    for table in Dataset.of(dataset).select(verdict="all").tables(columns):
        sample: dict[str, tuple[list[Annotation], list[Annotation]]] = {}
        rows = zip(
            table["key"].to_pylist(), table["kept"].to_pylist(), from_table(table), strict=True
        )
        for key, is_kept, one in rows:
            sample.setdefault(key, ([], []))[not is_kept].append(one)
        yield from sample.values()
