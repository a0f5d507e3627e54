"""What is raised when a plugin does not keep its contract, and how a fault is described."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from florilegium.engine.core.counted import counted
from florilegium.engine.core.redaction import redacted
from florilegium.engine.untrusted.traces import message_of, traceback_of


class ContractBroken(AssertionError):
    """A plugin does not keep its contract; `faults` has a sentence for each way, with its cure."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        lines = [f"{name} breaks its contract in {counted(len(faults), 'way')}:"]
        super().__init__("\n".join([*lines, *(f"  - {fault}" for fault in faults)]))
        self.faults = tuple(faults)


def raised(error: BaseException) -> str:
    """Describe an error of a plugin, with its own lines of the traceback."""
    lines = traceback_of(error, above=_OURS).strip().splitlines()
    return "\n      ".join([f"{type(error).__name__}: {redacted(message_of(error))}", *lines[:-1]])


_OURS = frozenset([*map(str, Path(__file__).parent.glob("*.py")), functools.__file__])
"""The files of the kit, and what calls its properties: tracebacks leave them out."""
