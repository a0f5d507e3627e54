"""Workers of Ray search the folders that the driver searches, and not the one it stands in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGE = """
import importlib.util
from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.stage import Specialist


class Looking(Specialist):
    produces = ("tag",)

    def predict(self, samples):
        found = "found" if importlib.util.find_spec("lurking") else "safe"
        return [[Annotation(kind="text", task="tag", text=found, label=found)] for _ in samples]
"""


@pytest.mark.attack("configs")
def test_a_worker_finds_a_plugin_and_nothing_in_the_current_folder(
    album: Path, tmp_path: Path
) -> None:
    plugins, here = tmp_path / "plugins", tmp_path / "here"
    plugins.mkdir()
    here.mkdir()
    (plugins / "looking.py").write_text(STAGE)
    (here / "lurking.py").write_text("raise SystemExit")
    config = {
        "source": str(album),
        "output": str(tmp_path / "out"),
        "runner": {"kind": "ray", "workers": 1},
        "specialists": {"looking": {"use": "looking:Looking"}},
        "plugin_path": str(plugins),
    }
    (here / "run.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "florilegium",
            "build",
            "run.yaml",
        ],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (tar,) = (tmp_path / "out" / "shards").glob("*.tar")
    assert b'"label":"safe"' in tar.read_bytes()
    assert b'"label":"found"' not in tar.read_bytes()
