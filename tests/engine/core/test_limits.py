"""The limits as people read of them, and as a config sets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.limits import Limits
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from tests.building import build, configure

SECURITY = Path(__file__).parents[3] / "SECURITY.md"


OF_PROCESSES = {"stage_seconds", "load_seconds", "shard_seconds", "worker_memory_mb"}


def shown(name: str, value: float | None) -> str:
    """Write a limit as people read it."""
    if value is None:
        return "none"
    if name.endswith("_bytes"):
        unit, size = ("GiB", 1 << 30) if value >= 1 << 30 else ("MiB", 1 << 20)
        return f"{value // size} {unit}"
    return f"{value:,}"


def test_the_table_of_limits_names_every_limit_with_its_number() -> None:
    lines = SECURITY.read_text("utf-8").splitlines()
    rows = {line.split("|")[1].strip(" `"): line.split("|")[2].strip() for line in lines
            if line.startswith("| `")}  # fmt: skip
    assert {name: rows.get(name) for name in Limits.model_fields} == {
        name: shown(name, field.default) for name, field in Limits.model_fields.items()
    }


def test_the_limits_of_readings_are_all_but_those_of_stages_and_processes() -> None:
    base = Limits().of_readings
    for name in Limits.model_fields:
        assert (Limits(**{name: 77}).of_readings == base) == (name in OF_PROCESSES), name


def test_the_former_place_of_the_pixels_is_an_error_that_names_the_new_one() -> None:
    values = {"source": "x", "output": "y", "specialists": {"a": {}}, "max_pixels": 1000}
    with pytest.raises(ConfigError, match=r"write `limits: \{max_pixels: 1000\}`"):
        validated(RunConfig, values, where="config.yaml")


@pytest.mark.attack("files")
def test_a_limit_holds_in_a_build_and_a_changed_one_reads_again(
    album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    keys = {"max_dead_letter_share": 1.0, "shard_size": 6}
    small = build(album, out, limits={"max_pixels": 2000}, **keys)
    assert (small.totals.samples, small.totals.dead_letters) == (6, 6)
    assert build(album, out, **keys).totals.samples == 12
    with pytest.raises(ConfigError, match="max_pixel"):
        execute(prepare(configure(album, out, limits={"max_pixel": 1})), Progress())
