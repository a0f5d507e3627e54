"""A build as a job: its command, its runtime environment, and the rule that an output has one job.

A job that runs already with the same submission is joined; one that ended, however, is followed by
another attempt, which repeats no finished work.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from florilegium.engine.core.errors import OutputInUse, RunError, UsageError
from florilegium.engine.core.known_secrets import is_secret_variable
from florilegium.engine.core.redaction import redacted
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.cluster.client import Cluster
from florilegium.pipelines.cluster.jobs import OUTPUT, SUBMISSION, Job, latest, name_of
from florilegium.pipelines.cluster.package import CONFIG, LAUNCHER, Package

Command = Literal["build", "refine", "refresh"]
"""What a job can run; each takes a config."""
STOP_S = 30
"""Seconds that Ray gives a cancelled build to release its output."""
_OWN_PYTHON = f'exec "$(readlink /proc/$PPID/exe)" {LAUNCHER}'
_CONFIG_VARIABLE = "FLORILEGIUM_CONFIG"
_IN_IMAGE = (
    f'config="$(mktemp)" && printf %s "${_CONFIG_VARIABLE}" | base64 -d > "$config" && '
    'exec python -m florilegium {command} "$config"'
)
_MAX_IN_VARIABLE = 90_000
"""Bytes of a config that fit in an environment variable, as base64."""
_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Variables of a job. Those taken from this process are `secrets`, and so are those whose name
    says so: no message holds their value."""

    variables: Mapping[str, str]
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, options: Sequence[str]) -> Environment:
        """Read `NAME=VALUE`, or `NAME` for the value that it has here.

        Raises:
            UsageError: it is no name, or not set here.
        """
        variables: dict[str, str] = {}
        secrets: list[str] = []
        for option in options:
            name, is_given, value = option.partition("=")
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise UsageError(f"--env {cut(name)} is no variable: give NAME or NAME=VALUE")
            if not is_given and name not in os.environ:
                raise UsageError(f"--env {name}: it is not set here; set it, or give {name}=VALUE")
            variables[name] = value if is_given else os.environ[name]
            if not is_given or is_secret_variable(name):
                secrets.append(variables[name])
        return cls(variables=variables, secrets=tuple(secrets))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """All that the job server gets. `name` is the job's id without the number of the attempt."""

    name: str
    output: str
    command: str
    runtime_env: Mapping[str, Any]
    digest: str
    """Of the files, the command and the runtime environment, without the values of variables."""


def submission_of(
    package: Package,
    output: str,
    *,
    flags: Sequence[str],
    environment: Environment,
    command: Command = "build",
    pip: Sequence[str] = (),
    image: str | None = None,
) -> Submission:
    """Return the submission of a build, or of another command that takes a config.

    Raises:
        UsageError: the job is to run in an image, and would take more than its config with it.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **environment.variables}
    if image:
        variables[_CONFIG_VARIABLE] = _for_image(package, pip)
        line = " ".join((_IN_IMAGE.format(command=command), *flags))
        runtime_env: dict[str, Any] = {"image_uri": image}
    else:
        own = ["--pip"] * bool(pip)
        words = [*own, version("florilegium"), command, CONFIG, *flags]
        line = f"{_OWN_PYTHON} {shlex.join(words)}"
        runtime_env = {"working_dir": str(package.folder)}
    if pip:
        runtime_env["pip"] = list(pip)
    parts = (package.digest, line, *sorted(variables), *sorted(pip), image or "")
    return Submission(
        name=name_of(output),
        output=output,
        command=line,
        runtime_env={**runtime_env, "env_vars": variables},
        digest=hashlib.sha256("\0".join(parts).encode()).hexdigest(),
    )


def _for_image(package: Package, pip: Sequence[str]) -> str:
    """Return the config as the value of a variable: Ray sends no files to a container."""
    if len(package.parts) > 1 or pip:
        what = [str(part.name) for part in package.parts[1:]] + [f"--pip {one}" for one in pip]
        raise UsageError(
            f"--image: Ray sends neither files nor packages to a container, and this job needs "
            f"{', '.join(what)}: put them into the image, and name files by absolute paths"
        )
    data = Path(package.folder, CONFIG).read_bytes()
    if len(data) > _MAX_IN_VARIABLE:
        raise UsageError(
            f"--image: the config has {len(data)} bytes, and goes along as a variable, which "
            f"holds {_MAX_IN_VARIABLE}: put it into the image"
        )
    return b64encode(data).decode()


def submit(cluster: Cluster, submission: Submission) -> tuple[str, bool]:
    """Return the id of the job of a submission, and whether it is a new one.

    Raises:
        OutputInUse: a job of another submission writes the output.
        RunError: the cluster does not take the job.
    """
    metadata = {OUTPUT: redacted(submission.output), SUBMISSION: submission.digest}
    for _ in range(_ATTEMPTS):  # another one may submit the same at the same moment
        previous = latest(cluster.jobs(), submission.name)
        if previous and not previous.is_over:
            _refuse_another(previous, submission)
            return previous.name, False
        name = f"{submission.name}-{previous.number + 1 if previous else 1}"
        if cluster.submit(
            name, submission.command, runtime_env=submission.runtime_env, metadata=metadata
        ):
            return name, True
    raise RunError(f"others submit jobs for {submission.output} all the time: try again later")


def _refuse_another(job: Job, submission: Submission) -> None:
    if job.submission != submission.digest:
        raise OutputInUse(
            f"the job {job.name} of this cluster writes {submission.output}, with another config "
            f"or other options: wait for it, or stop it with `florilegium job cancel {job.name}`"
        )
