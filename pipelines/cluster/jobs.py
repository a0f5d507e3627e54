"""Jobs of a cluster that are ours: their ids, and what became of them.

An id is that of the output, with the number of the attempt: `florilegium-NAME-DIGEST-2`. So a
cluster has one job for an output at a time, and keeps those that ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import UsageError
from florilegium.engine.untrusted.escaped import cut

STOPPED = 130
"""Exit code of a job that was cancelled, as after Ctrl-C."""
_OURS = "florilegium"
OUTPUT, SUBMISSION = "florilegium_output", "florilegium_submission"
"""Keys of a job's metadata: the URL of its dataset, the digest of all that was submitted."""
_LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of ours, as the cluster reports it."""

    name: str
    status: str
    message: str
    exit_code: int | None
    """`None` while it runs, or where its command did not start."""
    output: str
    submission: str
    started_ms: int | None
    ended_ms: int | None

    @classmethod
    def of(cls, details: Any) -> Job:
        """Return a job from Ray's `JobDetails`."""
        metadata = details.metadata or {}
        return cls(
            name=details.submission_id,
            status=str(details.status.value),
            message=details.message or "",
            exit_code=details.driver_exit_code,
            output=metadata.get(OUTPUT, ""),
            submission=metadata.get(SUBMISSION, ""),
            started_ms=details.start_time,
            ended_ms=details.end_time,
        )

    @property
    def is_over(self) -> bool:
        """Whether it ended, however."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")

    @property
    def has_started(self) -> bool:
        """Whether its command ran at all."""
        return self.exit_code is not None or not self.is_over

    @property
    def code(self) -> int:
        """The exit code of one that ended: its command's own; as in a shell, 128 + the number of a
        signal that killed it; 130 if it was cancelled, 1 if its command did not start."""
        if self.status == "SUCCEEDED":
            return 0
        if self.status == "STOPPED":
            return STOPPED
        if self.exit_code is None:
            return 1
        return 128 - self.exit_code if self.exit_code < 0 else self.exit_code

    @property
    def number(self) -> int:
        """The number of the attempt, from 1."""
        return int(self.name.rpartition("-")[2])

    def to_json(self) -> dict[str, Any]:
        """Return what `job status` prints."""
        return {
            "job": self.name,
            "status": self.status,
            "exit_code": self.code if self.is_over else None,
            "output": self.output,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
        }


def name_of(output: str) -> str:
    """Return the id of the jobs of an output, without the number of the attempt."""
    url = output.rstrip("/")
    word = re.sub(r"[^a-z0-9]+", "-", url.rpartition("/")[2].lower()).strip("-")
    digest = hashlib.sha256(url.encode()).hexdigest()[:10]
    return "-".join(filter(None, (_OURS, word[:_LONGEST_NAME].strip("-"), digest)))


def ours(jobs: Iterable[Any]) -> Iterator[Job]:
    """Yield our jobs among all of a cluster, oldest first."""
    found = [one for one in jobs if re.fullmatch(rf"{_OURS}-.+-\d+", one.submission_id or "")]
    yield from map(Job.of, sorted(found, key=lambda one: one.start_time or 0))


def latest(jobs: Iterable[Job], name: str) -> Job | None:
    """Return the last attempt of an output, by the id without its number."""
    attempts = [job for job in jobs if job.name.rpartition("-")[0] == name]
    return max(attempts, key=lambda job: job.number, default=None)


def find(jobs: Iterable[Job], wanted: str) -> Job:
    """Return a job by its id, or the last one by its output.

    Raises:
        UsageError: there is none.
    """
    known = list(jobs)
    by_name = {job.name: job for job in known}
    found = by_name.get(wanted) or latest(known, wanted) or latest(known, name_of(wanted))
    if found is None:
        raise UsageError(
            f"the cluster has no job {cut(wanted)}: give the id that `submit` printed, or the "
            f"output of its dataset; `florilegium job status` lists all jobs"
        )
    return found
