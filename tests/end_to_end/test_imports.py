"""What is imported when: two threads that import the same package may each find half of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.conftest import ROOT

CHILD = """
import json
import sys
from pathlib import Path

from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.engine.planning.index import read_index
from florilegium.engine.planning.partition import partition
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.worker import Worker

output = Path(sys.argv[1])
changes = {"output": str(output), "layers": str(output / "layers")}
document = load_document(output / "run.yaml", changes=changes)
run = prepare(validated(RunConfig, document, where="run.yaml"))
specs = partition(run.sources, read_index(run.output))
worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
before = set(sys.modules)
for spec in specs:
    work, images = worker.open(spec, previous_digest="", retry=False)
    assert not work.todo, "every stage has spoken already"
    stats = worker.publish(work, images, [])
    assert stats.annotations_kept and stats.annotations_dropped
packages = {name.partition(".")[0] for name in set(sys.modules) - before}
new = sorted(packages - sys.stdlib_module_names)
print(json.dumps({"new": new, "torch": "torch" in sys.modules}))
"""


def test_reading_judging_and_publishing_import_nothing(quickstart: Path, tmp_path: Path) -> None:
    """They go on in threads beside the one in which a model is loaded."""
    output = tmp_path / "out"
    shutil.copytree(quickstart, output)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"new": [], "torch": False}
