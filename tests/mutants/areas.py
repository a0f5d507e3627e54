"""What is mutated, and the tests that must notice: those that mirror it, and no others.

Where some of them take seconds, the quick ones are asked first about every change, and all of them
about what those did not notice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Area:
    """Code, a folder or files, and its tests; `name` is what `make mutants ONLY=name` takes."""

    name: str
    code: tuple[str, ...]
    tests: tuple[str, ...]
    slow: tuple[str, ...] = ()
    """Those of the tests, files or single ones, that are not asked first."""


_PARTITION = "tests/engine/planning/test_partition.py"
_MERGE = ("candidates", "captions", "hypotheses", "rules", "stage", "statement")

AREAS = (
    Area(
        name="pipelines/merge",
        code=tuple(f"pipelines/merge/{name}.py" for name in _MERGE),
        tests=(
            *(f"tests/pipelines/merge/test_{name}.py" for name in _MERGE),
            "tests/pipelines/merge/test_world.py",
        ),
        slow=("tests/pipelines/merge/test_world.py",),
    ),
    Area(
        name="pipelines/merge/learning",
        code=("pipelines/merge/learning/*", "pipelines/merge/calibration.py"),
        tests=("tests/pipelines/merge/learning", "tests/pipelines/merge/test_calibration.py"),
        slow=("tests/pipelines/merge/learning/test_fit.py",),
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
            "pipelines/training/expressions.py",
            "pipelines/training/templates.py",
        ),
        tests=(
            "tests/pipelines/training/test_answers.py",
            "tests/pipelines/training/test_examples.py",
            "tests/pipelines/training/test_expressions.py",
            "tests/pipelines/training/test_templates.py",
        ),
    ),
    Area(
        name="engine/results/judging",
        code=("engine/results/judging.py",),
        tests=("tests/engine/results/test_judging.py",),
    ),
    Area(
        name="engine/planning/partition",
        code=(
            "engine/planning/partition.py",
            "engine/planning/index.py",
            "engine/planning/new_inputs.py",
            "engine/planning/summaries.py",
            "engine/planning/known_inputs.py",
            "engine/planning/new_keys.py",
        ),
        tests=(
            _PARTITION,
            "tests/engine/planning/test_new_keys.py",
            "tests/engine/planning/test_partition_at_random.py",
        ),
        slow=(
            f"{_PARTITION}::test_long_names_in_different_shards_stay_different_in_the_output",
            f"{_PARTITION}::test_a_shard_size_that_changes_makes_all_shards_again",
        ),
    ),
)
