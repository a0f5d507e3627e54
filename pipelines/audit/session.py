"""An audit under way: asks the next question, takes an answer, and sums up.

It may be used from several threads. What a question looks like, and how it comes to a person, is
not known here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from florilegium.engine.core.errors import ConfigError, StorageError, UsageError
from florilegium.engine.core.tasks import names_of
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.audit.events import (
    Answer,
    Fix,
    ImageSearched,
    Missing,
    StatementJudged,
    Undone,
    in_force,
    subject_of,
)
from florilegium.pipelines.audit.findings import Findings, write_audit
from florilegium.pipelines.audit.image_order import ImageOrder
from florilegium.pipelines.audit.log import AuditLog
from florilegium.pipelines.audit.material import Material
from florilegium.pipelines.audit.pool import Pool, pool_of
from florilegium.pipelines.audit.progress import Progress, is_searched, progress_of
from florilegium.pipelines.audit.questions import (
    ImageQuestion,
    StatementQuestion,
    with_fix,
    with_words,
)
from florilegium.pipelines.audit.queue import QueueName, next_row
from florilegium.pipelines.dataset.lineage import CANDIDATES
from florilegium.pipelines.dataset.takedown_lines import AUDIT, AUDIT_LOG
from florilegium.specialists.regions.likeness import still_right

HELD_S = 300.0
"""Seconds for which a statement on the screen of one person is asked of no other."""
STATEMENTS_PER_IMAGE = 10
"""Statements of the random queue after which a person is asked what is missing in an image."""


def audit_root(dataset: Folder) -> Folder:
    """Return the folder of a dataset's audit: its own; of the candidates of a round the one above,
    where `refine` looks for it."""
    above, _, level = dataset.url.rstrip("/").rpartition("/")
    is_candidates = level.isdigit() and above.rpartition("/")[2] == CANDIDATES
    return Folder(above) if is_candidates else dataset


@contextmanager
def opened_audit(folder: Folder, queue: QueueName | None = None) -> Iterator[AuditSession]:
    """Open the audit of a finished dataset; no other process can until the block ends.

    Without a `queue` it is `gain` for the candidates of a round, whose audit calibrates a merge,
    and else `random`.

    Raises:
        UsageError: the dataset is not finished, or not on a mounted file system.
        OutputInUse: another command audits it.
        StorageError: the log is damaged, or cannot be written; at the end, `audit.jsonl` cannot.
    """
    dataset = Dataset.of(folder)
    root = audit_root(folder)
    log = AuditLog.of(Folder(f"{root.url}/{AUDIT_LOG}"))
    with writing(log.folder):
        session = AuditSession(dataset, queue=queue or ("random" if root is folder else "gain"))
        try:
            yield session
        finally:
            session.close()


class AuditSession:
    """The audit of one dataset, with the answers of all people."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        queue: QueueName = "random",
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.root = audit_root(dataset.folder)
        self.log = AuditLog.of(Folder(f"{self.root.url}/{AUDIT_LOG}"))
        self.dataset = dataset
        self.queue: QueueName = queue
        self.pool: Pool = pool_of(dataset, seed)
        self.images = ImageOrder(dataset=dataset, seed=seed)
        self._clock = clock
        self._lock = threading.RLock()
        self._material = Material(dataset, self.pool)
        self._held: dict[str, tuple[int, float]] = {}
        self._held_image: dict[str, tuple[str, str, float]] = {}
        self._unwritten = ""
        write_audit(self.root, self.pool, self.findings)

    @property
    def findings(self) -> Findings:
        """The answers in force."""
        return Findings.of(self.log.events)

    @property
    def missing_tasks(self) -> tuple[str, ...]:
        """The tasks of which things can be missing: regions of an image, named or read."""
        can_be = names_of(lambda task: task.kind == "region" and not task.is_of_region)
        return tuple(task for task in self.pool.vocabulary if task in can_be)

    def next(self, person: str) -> StatementQuestion | ImageQuestion | None:
        """Return the next question for a person, `None` at the end of the queue."""
        with self._lock:
            findings = self.findings
            is_due = self.queue == "random" and self._is_due_for_image(person, findings)
            if is_due and (question := self._next_image(person, findings)):
                return question
            asked = findings.asked(self.pool, person, self._held_by_others(person))
            row = next_row(self.pool, asked, self.queue)
            if row is None:
                return self._next_image(person, findings) if self.queue == "random" else None
            self._held[person] = (row, self._clock())
            return self._question(row)

    def statement(self, name: str) -> StatementQuestion:
        """Return the question about an annotation.

        Raises:
            UsageError: the dataset keeps no such annotation.
        """
        return self._question(self._material.row(name))

    def image(self, key: str) -> ImageQuestion:
        """Return what is asked about an image that a person chose.

        Raises:
            UsageError: there is no such image.
        """
        return self._material.about_image(key, "chosen")

    def sample(self, key: str) -> DatasetSample:
        """Return an image with its kept annotations.

        Raises:
            UsageError: there is no such image.
        """
        return self._material.sample(key)

    def judge(self, person: str, name: str, answer: str, fix: Fix | None) -> None:
        """Take an answer about a statement; it is on the disk when this returns.

        Raises:
            UsageError: the dataset keeps no such annotation, or the fix does not fit it.
            ValueError: `fix` goes with the answer `fixed` alone.
        """
        with self._lock:
            row = self._material.row(name)
            right = {"right": True, "wrong": False}.get(answer)
            if fix is not None:
                annotations = self._material.annotations(row)
                sample = self.sample(self.pool.key(row))
                size_wh = (sample.width, sample.height)
                right = still_right(annotations[name], with_fix(annotations[name], fix, size_wh))
                fix = with_words(fix, annotations.get(annotations[name].parent_id))
            event = StatementJudged.model_validate(
                {
                    "at": self._now(),
                    "id": name,
                    "key": self.pool.key(row),
                    "answer": answer,
                    "right": right,
                    "fix": fix,
                    "queue": self._queue_of(name),
                    "stratum": self.pool.name_of_stratum(row),
                    "stratum_size": int(self.pool.in_stratum[self.pool.stratum[row]]),
                }
            )
            self._append(person, event)
            self._held.pop(person, None)

    def search(self, person: str, key: str, missing: Sequence[Missing]) -> None:
        """Take what is missing in an image, perhaps nothing; it is on the disk when this returns.

        Raises:
            UsageError: there is no such image, or nothing of such a task can be missing.
        """
        with self._lock:
            for one in missing:
                if one.task not in self.missing_tasks:
                    raise UsageError(f"nothing of the task {one.task[:100]!r} can be missing here")
            sample = self.sample(key)
            for one in missing:
                box = one.box_xyxy
                if box and (box[2] > sample.width or box[3] > sample.height):
                    raise UsageError(f"a box reaches out of the image {key[:100]!r}")
            held, place, _ = self._held_image.get(person, ("", "", 0.0))
            place = place if held == key else ""
            event = ImageSearched(
                at=self._now(),
                key=key,
                place=place,
                queue="random" if place else "chosen",
                missing=tuple(missing),
            )
            self._append(person, event)
            self._held_image.pop(person, None)

    def undo(self, person: str) -> StatementQuestion | ImageQuestion | None:
        """Take back the last answer of a person and ask again; `None` if there is none."""
        with self._lock:
            answers: list[Answer] = in_force(self.log.events.get(person, []))
            if not answers:
                return None
            last = answers[-1]
            name, key = subject_of(last)
            self._append(person, Undone(at=self._now(), id=name, key=key))
            if isinstance(last, StatementJudged):
                row = self.pool.row_of.get(last.id)
                if row is None:
                    return None
                self._held[person] = (row, self._clock())
                fix = last.fix.model_dump() if last.fix else None
                return replace(self._question(row), fix=fix)
            if last.queue == "random":
                self._held_image[person] = (last.key, last.place, self._clock())
            return self._material.about_image(last.key, last.queue, last)

    def progress(self, person: str) -> Progress:
        """Return the estimates so far."""
        with self._lock:
            notes = [*self.log.notes]
            if self._unwritten:
                notes.append(
                    f"your answers are in the log, but {AUDIT} is behind: {self._unwritten}"
                )
            return progress_of(
                self.pool, self.images, self.findings, person, self.missing_tasks, notes
            )

    def close(self) -> None:
        """Write `audit.jsonl` again, where it is behind the log.

        Raises:
            ConfigError: the file that is there is malformed.
            StorageError: it still cannot be written.
        """
        with self._lock:
            if self._unwritten:
                write_audit(self.root, self.pool, self.findings)
                self._unwritten = ""

    def _append(self, person: str, event: StatementJudged | ImageSearched | Undone) -> None:
        """Take an event. Once it is in the log it is taken, even if `audit.jsonl` cannot be written
        now: that is reported, and tried again with the next one."""
        self.log.append(person, event)
        try:
            write_audit(self.root, self.pool, self.findings)
            self._unwritten = ""
        except (ConfigError, StorageError) as error:
            self._unwritten = str(error)

    def _is_due_for_image(self, person: str, findings: Findings) -> bool:
        own = sum(person in one for one in findings.statements.values())
        searched = sum(
            person in one and one[person].queue == "random" for one in findings.images.values()
        )
        return own >= STATEMENTS_PER_IMAGE * (searched + 1)

    def _next_image(self, person: str, findings: Findings) -> ImageQuestion | None:
        """Return the first image of the random order that nobody has searched or looks at."""
        if not self.missing_tasks:
            return None
        now = self._clock()
        held = {
            key
            for who, (key, _, since) in self._held_image.items()
            if who != person and now - since < HELD_S
        }
        for index in range(len(self.images)):
            key = self.images.head(index)["key"]
            if key not in held and not is_searched(findings, key):
                self._held_image[person] = (key, self.images.place(index), now)
                earlier = findings.images.get(key, {}).get(person)
                return self._material.about_image(key, "random", earlier)
        return None

    def _held_by_others(self, person: str) -> list[int]:
        now = self._clock()
        return [
            row
            for who, (row, since) in self._held.items()
            if who != person and now - since < HELD_S
        ]

    def _question(self, row: int) -> StatementQuestion:
        return self._material.about(row, self._queue_of(self.pool.ids[row].as_py()))

    def _queue_of(self, name: str) -> QueueName:
        """Return the queue that asked for an annotation first, else the one in use."""
        answers = self.findings.statements.get(name, {}).values()
        return min(answers, key=lambda one: one.at).queue if answers else self.queue

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
