"""Talking to the job server of a Ray cluster, over HTTP: submitting, following, cancelling.

Every error of Ray and of the network becomes one of ours, without the values of the environment
that a job was given.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from florilegium.engine.core.errors import MissingPackage, RunError, UsageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.cluster.jobs import Job, find, ours

CONNECT_S = 10.0
"""Seconds until a job server has answered the first request."""
PATIENCE_S = 120.0
"""Seconds for which a job server may be away, or take no jobs yet."""
POLL_S = 1.0
CANCEL_S = 60.0
"""Seconds that a cancelled job has for its end."""
_EXISTS, _TOO_EARLY = "already exists", "No available agent"
"""Parts of answers to a submission."""
_EXTRA = "florilegium[cluster]"
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Variables with which Ray overrides the address that it is given."""
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers that would mention each upload and each connection."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TOKEN = (
    "set RAY_AUTH_MODE=token, and the cluster's token as RAY_AUTH_TOKEN or its file as "
    "RAY_AUTH_TOKEN_PATH, in the environment"
)


class Cluster:
    """The job server of a running cluster. `secrets` are values that no message may hold."""

    def __init__(self, address: str, *, secrets: Sequence[str] = ()) -> None:
        """Connect.

        Raises:
            MissingPackage: the extra is not installed.
            UsageError: the address is none, or the cluster wants another token.
            RunError: nothing answers there.
        """
        _refuse_missing()
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise UsageError(f"--address {cut(address)} is no URL: give http://HEAD:8265")
        self.address = address.rstrip("/")
        self._secrets = tuple(secrets)
        with self._explained(), _without(*_OVERRIDES):
            from ray.job_submission import JobSubmissionClient

            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.WARNING)
            _knock(self.address)
            self._client = JobSubmissionClient(self.address)

    def jobs(self) -> list[Job]:
        """Return our jobs, oldest first."""
        with self._explained():
            return list(ours(self._client.list_jobs()))

    def find(self, wanted: str) -> Job:
        """Return a job by its id or its output."""
        return find(self.jobs(), wanted)

    def job(self, name: str) -> Job:
        """Return what became of a job."""
        with self._explained():
            return Job.of(self._client.get_job_info(name))

    def submit(
        self,
        name: str,
        command: str,
        *,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> bool:
        """Submit a job; return False where one of this id exists already.

        A cluster that has just started takes no jobs yet: that is waited for.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._explained():
                    self._client.submit_job(
                        entrypoint=command,
                        submission_id=name,
                        runtime_env=dict(runtime_env),
                        metadata=dict(metadata),
                    )
                return True
            except RunError as error:
                if _EXISTS in str(error):
                    return False
                if _TOO_EARLY not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(POLL_S)

    def logs(self, name: str) -> str:
        """Return all that a job has printed."""
        with self._explained():
            lines = self._client.get_job_logs(name).split("\n")
        return "\n".join(map(self._shown, lines))

    def cancel(self, name: str) -> Job:
        """Stop a job and wait for its end; one that is over stays as it is.

        Raises:
            RunError: it does not end.
        """
        with self._explained():
            self._client.stop_job(name)
        job = self.job(name)
        until = time.monotonic() + CANCEL_S
        while not job.is_over:
            if time.monotonic() > until:
                raise RunError(f"the job {name} was asked to stop and goes on after {CANCEL_S} s")
            time.sleep(POLL_S)
            job = self.job(name)
        return job

    def follow(self, name: str, say: Callable[[str], None]) -> Job:
        """Print the lines of a job as they come, until it is over; return what became of it.

        A connection that breaks is made again, and no line is printed twice.

        Raises:
            RunError: the job server does not come back; the job may go on.
        """
        lines = _Lines(lambda line: say(self._shown(line)))
        away_since: float | None = None
        while True:
            try:
                asyncio.run(self._tail(name, lines))
                job = self.job(name)
                away_since = None
                if job.is_over:
                    lines.close()
                    return job
            except (OSError, RuntimeError, RunError) as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise RunError(
                        f"lost the cluster at {self.address} while the job {name} ran: "
                        f"{redacted(str(error), *self._secrets)}; it may go on: `florilegium job "
                        f"logs {name} --address {self.address} --wait` looks again"
                    ) from error
            time.sleep(POLL_S)

    def _shown(self, line: str) -> str:
        """Return a line of a job's log without its secrets and colours."""
        return redacted(_COLOURS.sub("", line.expandtabs()), *self._secrets)

    async def _tail(self, name: str, lines: _Lines) -> None:
        from aiohttp import ClientError

        lines.restart()
        try:
            async for text in self._client.tail_job_logs(name):
                lines.add(text)
        except ClientError as error:
            raise ConnectionError(str(error)) from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise our errors in place of those of Ray and of `requests`, which are OSErrors."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise UsageError(f"{self.address} refuses us, {_reason(error)}: {_TOKEN}") from None
        except (OSError, RuntimeError, ValueError) as error:
            message = redacted(str(error), *self._secrets)
            raise RunError(f"the job server at {self.address} cannot be used: {message}") from None


class _Lines:
    """Passes on whole lines of a log that may be sent again from its beginning."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._seen = 0
        self._at = 0
        self._rest = ""

    def restart(self) -> None:
        """The log comes again from its beginning."""
        self._at = 0

    def add(self, text: str) -> None:
        """Take the next part of the log."""
        new = text[max(0, self._seen - self._at) :]
        self._at += len(text)
        self._seen = max(self._seen, self._at)
        *lines, self._rest = (self._rest + new).split("\n")
        for line in lines:
            self._say(line)

    def close(self) -> None:
        """Pass on a last line that does not end."""
        if self._rest:
            self._say(self._rest)
        self._rest = ""


def _refuse_missing() -> None:
    missing = [name for name in ("requests", "aiohttp", "pathspec") if find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"submitting needs {', '.join(missing)}: pip install '{_EXTRA}'", install=_EXTRA
        )


def _knock(address: str) -> None:
    """Ask for the version: Ray's own client would wait for ever where nothing answers.

    Raises:
        RunError: nothing answers, or something that is no job server.
    """
    import requests

    cure = "check the address (http://HEAD:8265), that the cluster is up, and the way to it"
    try:
        answer = requests.get(f"{address}/api/version", timeout=CONNECT_S)
    except requests.RequestException as error:
        reason = str(error).rpartition(": ")[2].rstrip(")'\"") or type(error).__name__
        raise RunError(f"no Ray cluster answers at {address} ({reason}): {cure}") from None
    if answer.status_code not in (200, 401, 403):
        raise RunError(
            f"{address} is no job server of Ray, it answers {answer.status_code}: {cure}"
        )


def _reason(error: Exception) -> str:
    """Return the first line of an error about a token, which holds no token."""
    first = redacted(str(error)).split("\n")[0]
    return first.partition(". ")[0].rstrip(".").lower()


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Hide environment variables while the block runs."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
