"""The plugin package is installed by pip, and its stages run in a build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from florilegium import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.docs.examples.conftest import EXAMPLES
from tests.docs.page import run_command


def test_its_stages_run_in_a_build(
    installed: Path,
    script: Callable[[str], ModuleType],
    small_photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    model = script("plugin/tests/conftest.py").write_checkpoint(tmp_path / "models" / "tables")
    output = tmp_path / "out"
    run_command(
        *("florilegium", "build", str(EXAMPLES / "plugin" / "tables.yaml")),
        *("--source", str(small_photographs), "--output", str(output), "--runner", "in_process"),
        *("--set", f"specialists.document_tables.model={model}"),
        *("--set", "specialists.document_tables.least_score=0.3"),
    )
    assert list(verify_dataset(Folder(str(output)))) == []
    rows = [
        row
        for table in open_dataset(str(output)).select(verdict="all").tables()
        for row in table.to_pylist()
    ]
    assert {row["key"] for row in rows} == {path.stem for path in small_photographs.iterdir()}
    assert {row["label"] for row in rows} <= {"table", "table rotated"}
    assert {row["key"] for row in rows if "nested_tables" in str(row["verdicts"])}
    assert {row["model"] for row in rows} == {"tables"}
    assert len({row["revision"] for row in rows}) == 1
