"""All errors, in one tree.

    FlorilegiumError
    ├── UsageError            to be fixed by the user before anything starts (exit 2)
    │   ├── ConfigError       a config file, an override or a source URL
    │   ├── PlanError         the stage graph: unknown, missing, cyclic or mistyped
    │   ├── MissingPackage    an optional package, with the pip line that installs it
    │   └── MissingModel      weights, with the command that fetches them
    ├── OutputInUse           another command writes the output (exit 3)
    ├── SampleError           one image: it becomes a dead letter, the run goes on
    ├── StorageError          reading or writing files (exit 1)
    │   └── DamagedFile       it was read whole, and is not what it should be
    └── RunError              the run as a whole cannot go on (exit 1)
        ├── WorkerDied        a worker process ended during a call; the scheduler isolates the cause
        │   └── WorkerStuck   it exceeds a limit of time or memory, and is replaced
        ├── StoreFull         the shared memory of Ray is full; the shard starts again, alone
        └── DataLost          bytes or layers that a call needs are gone; the shard starts again

A message says what happened, the value, and the cure; a secret in it is masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from florilegium.engine.core.redaction import redacted

_OURS = "florilegium"


class FlorilegiumError(Exception):
    """Base of every error this package raises on purpose."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in args))


class UsageError(FlorilegiumError):
    """Wrong usage or configuration; nothing was started."""


class ConfigError(UsageError):
    """A config file, an override or a source URL cannot be understood."""


class PlanError(UsageError):
    """The stages of a config do not form a graph that can run."""


class MissingPackage(UsageError):
    """A Python package is not installed; `install` is the argument for `pip install`."""

    def __init__(self, message: str, *, install: str = "") -> None:
        super().__init__(message)
        self.install = install

    @classmethod
    def all_of(cls, errors: Iterable[MissingPackage]) -> MissingPackage:
        """Return one error for all packages, so that they are installed in one go."""
        distinct = {str(error): error for error in errors}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        wanted = sorted({one for error in distinct.values() for one in error.install.split()})
        extras = [name for one in wanted for name in _extras(one)]
        others = [one for one in wanted if not _extras(one)]
        ours = [f"{_OURS}[{','.join(extras)}]"] if extras else []
        line = " ".join([*(f"'{one}'" for one in ours), *others])
        lines = ["packages are missing:", *(f"  {text}" for text in distinct)]
        if line:
            lines.append(f"all of them: pip install {line}")
        return cls("\n".join(lines), install=" ".join([*ours, *others]))


class MissingModel(UsageError):
    """Weights that a stage needs are not on this machine; `commands` fetch them, and need
    `packages`, which are not installed either."""

    def __init__(
        self, message: str, *commands: str, packages: Iterable[MissingPackage] = ()
    ) -> None:
        super().__init__(message, *commands)
        self.commands = commands
        self.packages = tuple(packages)

    def __str__(self) -> str:
        lines = dict.fromkeys(map(str, self.packages))
        return "\n".join((str(self.args[0]), *self.commands, *lines))


class OutputInUse(FlorilegiumError):
    """Another command writes the output; its holder is named."""


class SampleError(FlorilegiumError):
    """One image cannot be used. `reason` is a snake_case constant, the same in every report;
    `traceback` is that of an unforeseen error."""

    def __init__(self, reason: str, message: str, *, traceback: str = "") -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.traceback = redacted(traceback)
        # A message of other code may be long and hold characters that cannot be written.
        self.message = redacted(message).encode("utf-8", "replace").decode()[:2000]

    def __str__(self) -> str:
        return self.message


class StorageError(FlorilegiumError):
    """A file cannot be read or written."""


class DamagedFile(StorageError):
    """A file was read whole, and its content is not what it should be."""


class RunError(FlorilegiumError):
    """The run cannot go on."""


class WorkerDied(RunError):
    """The worker process died during a call, perhaps because of it.

    `reason` is that of the dead letter of the image that causes it. Where known, `stage` is the
    stage that was running, `samples` the numbers of its samples, and `spot` the input being read.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "process_died",
        stage: str = "",
        samples: tuple[int, ...] = (),
        spot: tuple[int, int, bool] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage
        self.samples = samples
        self.spot = spot


class WorkerStuck(WorkerDied):
    """A call takes longer, or its process more memory, than a limit allows: the caller has to end
    the process."""


class StoreFull(RunError):
    """The shared memory of Ray is full, and the disk behind it, too."""


class DataLost(RunError):
    """Bytes of a shard or layers are lost with a node or a disk; the shard must be read again."""


def _extras(requirement: str) -> list[str]:
    """Return the extras of this distribution that a requirement names."""
    name, _, extras = requirement.rstrip("]").partition("[")
    return extras.split(",") if name == _OURS else []


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint that names the valid word closest to `name`, or lists all of them."""
    words = sorted(valid)
    close = get_close_matches(name, words, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(words)}" if words else "there is none to choose from"
