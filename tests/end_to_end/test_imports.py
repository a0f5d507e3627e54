"""What the processes of a build import: a second for each of them is a second of every start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.building import BRIGHTEST

HEAVY = {
    *("torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "accelerate"),
    *("spacy", "onnxruntime", "rapidocr", "py3langid", "cv2", "sklearn", "skimage", "scipy"),
    *("ray", "jinja2", "webdataset", "datasets", "IPython", "matplotlib"),
}
"""Packages that take long to import. Not among them: `pandas`, which `pyarrow` imports by itself
where it is installed."""

BUILD = """
import json, sys
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.pipelines.telemetry.observers import watched

run = prepare(validated(RunConfig, json.loads(sys.argv[1]), where="test"))
progress = Progress()
with watched(run, progress) as observer:
    execute(run, progress, observer=observer)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_build_imports_what_its_stages_need_and_no_more(album: Path, tmp_path: Path) -> None:
    """Neither the driver nor a worker whose stages have no network."""
    log = tmp_path / "worker"
    config = {
        "source": str(album),
        "output": str(tmp_path / "out"),
        "specialists": {**BRIGHTEST, "imported": {"use": "tests.stages:Imported", "log": str(log)}},
        "filters": {"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.5}},
    }
    done = subprocess.run(
        [sys.executable, "-c", BUILD, json.dumps(config)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    driver = set(json.loads(done.stdout))
    worker = set(log.read_text().split())
    assert driver & HEAVY == set()
    assert worker & HEAVY == {"cv2"}  # reads images, of which simplejpeg does not read some
