"""Who watches a run, by its environment."""

from __future__ import annotations

from engine.execution.observer import Observer
from engine.execution.run import Run


def observers_of(run: Run) -> tuple[Observer, ...]:
    """Return the observers of a run."""
    return ()
