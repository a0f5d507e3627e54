"""What is mutated, and the tests that must notice: those that mirror it, and no others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Area:
    """Code, a folder or files, and its tests; `name` is what `make mutants ONLY=name` takes."""

    name: str
    code: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = (
    Area(
        name="pipelines/merge",
        code=("pipelines/merge/*",),
        tests=("tests/pipelines/merge",),
    ),
    Area(
        name="pipelines/calibration",
        code=("pipelines/calibration/*",),
        tests=("tests/pipelines/calibration",),
    ),
    Area(
        name="pipelines/filters",
        code=("pipelines/filters/*",),
        tests=("tests/pipelines/filters",),
    ),
    Area(
        name="pipelines/training",
        code=(
            "pipelines/training/answers.py",
            "pipelines/training/examples.py",
            "pipelines/training/templates.py",
        ),
        tests=(
            "tests/pipelines/training/test_examples.py",
            "tests/pipelines/training/test_templates.py",
        ),
    ),
    Area(
        name="engine/judging",
        code=("engine/judging.py",),
        tests=("tests/engine/test_judging.py",),
    ),
    Area(
        name="engine/partition",
        code=("engine/partition.py",),
        tests=("tests/engine/test_partition.py",),
    ),
)
