"""A loop that is killed at any moment comes to the same result, byte for byte."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from florilegium.pipelines.refine.loop import refine
from tests.end_to_end.dying import operations_of, run_and_die
from tests.pipelines.refine.conftest import Configure, left


@pytest.fixture(scope="module")
def reference(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The output of a loop that nobody killed, and its number of file operations."""
    output = tmp_path_factory.mktemp("reference") / "out"
    return output, operations_of(partial(refine, configure(output)), output)


@pytest.mark.attack("faults")
@pytest.mark.parametrize("part", range(5))
def test_a_killed_loop_resumes(
    configure: Configure, reference: tuple[Path, int], tmp_path: Path, part: int
) -> None:
    """Killed before one file operation, somewhere in each fifth of all."""
    undisturbed, operations = reference
    at = (part * operations + random.Random(part).randrange(operations)) // 5
    output = tmp_path / "out"
    assert run_and_die(partial(refine, configure(output)), output, at)
    refine(configure(output))
    assert left(output) == left(undisturbed)
