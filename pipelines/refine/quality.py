"""How good the labels of a round are: by the truth, by an audit, or by the voters' agreement.

The truth is asked about samples that were not audited. An audit and the voters know only what
somebody said: what nobody found is not missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.annotation import ANNOTATION_NAMES, Annotation, from_table
from engine.core.counted import counted
from engine.core.errors import ConfigError
from engine.core.tasks import CAPTION_TASKS, MASK_TASKS, PHRASE_TASKS
from engine.planning.open_source import urls_of
from engine.records.dataset import Dataset
from engine.storage.folder import Folder
from pipelines.dataset.lineage import AGREEMENT, AUDIT, TRUTH
from pipelines.merge.candidates import BOX_TASKS
from pipelines.merge.learning.audit import Audit, findings
from pipelines.refine.audits import Auditor, FileAuditor, TruthAuditor
from pipelines.refine.config import RefineConfig
from pipelines.shape_world.score.matching import Counts
from pipelines.shape_world.score.measure import score_labels, truth_of
from pipelines.shape_world.score.score import Score

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
    """What was measured, 0..1 by kind of label.

    A kind that nobody says is not there; one that nobody measured, for it was not audited or
    there is nothing true to tell, is `None`.
    """

    measured_by: str
    by_kind: dict[str, float | None]


def measure(config: RefineConfig, dataset: Folder, auditor: Auditor | None) -> Quality:
    """Measure the labels of a round's dataset.

    Raises:
        ConfigError: it is to be measured by what there is not.
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
    """Return one number for each kind of label that was said, 0..1, `None` where there is none.

    The F1 of boxes, masks and phrases; for text 1 - character error rate; for captions the mean
    F1 of objects, attributes and relations over the lengths, as far as there are any to tell.
    """
    lengths = [caption for caption in score.captions.values() if caption.said]
    facts = [
        fact.f1
        for caption in lengths
        for fact in (caption.objects, caption.attributes, caption.relations)
        if fact.f1 is not None
    ]
    misread = 1.0 if score.ocr.cer is None else min(score.ocr.cer, 1.0)
    measured = {
        "boxes": (score.boxes.said, score.boxes.f1),
        "captions": (len(lengths), sum(facts) / len(facts) if facts else None),
        "masks": (score.masks.said, score.masks.f1),
        "ocr": (score.ocr.said, 1 - misread),
        "phrases": (score.phrases.said, score.phrases.f1),
    }
    return {kind: value for kind, (said, value) in measured.items() if said}


def _audited(dataset: Folder, auditor: FileAuditor) -> Iterator[tuple[str, Counts]]:
    """Yield by task how much of what the audit found right a sample's labels say."""
    for sample in Dataset.of(dataset):
        found = auditor.found(sample.key)
        yield from _compared(auditor.audit, found, sample.annotations, is_all=False)


def _agreed(dataset: Folder) -> Iterator[tuple[str, Counts]]:
    """Yield by task how much of a sample's labels each voter says, and of what it says is there.

    No voter was trained on the sample that it speaks of, if there are folds. Who merges what
    others say is no voter: it would agree with itself.
    """
    for kept, dropped in _rows(dataset):
        audit = Audit(right=dict.fromkeys((one.id for one in kept), True))
        votes = [one for one in dropped if not one.merged_from]
        for voter in {one.specialist: None for one in votes}:
            said = [one for one in votes if one.specialist == voter]
            yield from _compared(audit, kept, said, is_all=True)


def _compared(
    audit: Audit, audited: Sequence[Annotation], said: Sequence[Annotation], *, is_all: bool
) -> Iterator[tuple[str, Counts]]:
    """Compare by task.

    With `is_all`, what was audited is all there is: what is unknown is wrong, and nobody is asked
    for tasks of which he does not speak. Else the unknown does not count, and silence is a miss.
    """
    for task in {one.task: None for one in (*said, *(() if is_all else audited))}:
        if task in _KIND_OF:
            spoken = [one for one in said if one.task == task]
            found = findings(audit, audited, task)
            verdict, thing = found.of(spoken)
            yield (
                task,
                Counts(
                    right=len(set(thing[thing >= 0].tolist())),
                    said=len(spoken) if is_all else int((~np.isnan(verdict)).sum()),
                    true=found.things,
                ),
            )


def _f1(counts: Iterable[tuple[str, Counts]]) -> dict[str, float | None]:
    """Sum up by kind; return the F1 of each, `None` where nothing was found right or wrong."""
    totals: dict[str, Counts] = {}
    for task, count in counts:
        totals[_KIND_OF[task]] = totals.get(_KIND_OF[task], Counts()) + count
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
