"""The exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for shells and schedulers."""

    DONE = 0
    """It did what it was asked to. There may be warnings."""
    FAILED = 1
    """The run failed: too many inputs were lost, a storage stayed away, a stage cannot be asked.
    The message has the cure; the same command resumes. `verify`: something is wrong."""
    USAGE = 2
    """The command line, the config or the installation is wrong; nothing was started."""
    IN_USE = 3
    """Another command writes the output; the message names it."""
    HELD_BACK = 4
    """A refresh built a new version and held it back: it exceeds a limit. The current version is
    as it was."""
    INTERRUPTED = 130
    """Ctrl-C or a signal to end; the same command resumes. 128 + SIGINT, as shells have it."""
