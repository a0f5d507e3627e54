"""Builds as jobs of a real cluster: from submission to a verified dataset, or to its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import yaml

from tests.building import shard_file
from tests.cluster.conftest import TOKEN
from tests.end_to_end.conftest import Command
from tests.processes import wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]

STAGE = """
import os, time
from pathlib import Path
from florilegium import Annotation, Specialist
from florilegium.engine.core.stage import StageConfig
from mine.words import WORD

class Options(StageConfig):
    words: str
    waits_for: str = ""

class Says(Specialist[Options]):
    Config = Options
    produces = ("tag",)

    def load(self):
        self.word = Path(self.config.words).read_text().strip()

    def predict(self, samples):
        while self.config.waits_for and not Path(self.config.waits_for).exists():
            time.sleep(0.05)
        label = f"{WORD} {self.word} {os.environ['FLAVOUR']}"
        return [[Annotation(kind="text", task="tag", label=label)] for _ in samples]
"""

Write = Callable[..., Path]


def workers() -> list[Any]:
    """The actors that builds have on the cluster."""
    from ray.util.state import list_actors  # with the token, which is not there at first

    address = os.environ["RAY_API_SERVER_ADDRESS"]
    actors = list_actors(address, filters=[("state", "!=", "DEAD")])
    return [actor for actor in actors if actor.class_name != "JobSupervisor"]


def objects() -> list[Any]:
    """The objects that lie in the shared memory of the cluster."""
    from ray.util.state import list_objects

    address = os.environ["RAY_API_SERVER_ADDRESS"]
    return list_objects(address, filters=[("reference_type", "=", "PINNED_IN_MEMORY")])


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a config with a plugin and a file of words, in the folder that we stand in."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "plugins" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "words.py").write_text("WORD = 'plugin'\n", "utf-8")
    (package / "says.py").write_text(STAGE, "utf-8")
    (tmp_path / "word.txt").write_text("file", "utf-8")

    def write(**options: Any) -> Path:
        document = {
            "source": "shape_world://4?seed=1&px=32",
            "output": str(tmp_path / "out"),
            "shard_size": 2,
            "runner": {"workers": 1},
            "specialists": {"says": {"use": "mine.says:Says", "words": "word.txt", **options}},
            "plugin_path": "plugins",
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document), "utf-8")
        return path

    return write


def labels_of(output: Path) -> set[str]:
    rows = ds.dataset(shard_file(output, ".parquet")).to_table().to_pylist()
    return {row["label"] for row in rows}


def test_a_build_runs_with_its_plugins_files_and_variables(
    written: Write, tmp_path: Path, florilegium: Command
) -> None:
    submit = ("submit", written(), "--wait", "--env", "FLAVOUR=variable")
    ended = florilegium(*submit)
    assert ended.code == 0, ended.out + ended.err
    assert "4 images = 4 samples + 0 dead letters" in ended.out
    assert re.search(r"^florilegium-out-\w{10}-1 SUCCEEDED, exit code 0$", ended.out, re.MULTILINE)
    assert TOKEN not in ended.out + ended.err
    assert florilegium("verify", tmp_path / "out").code == 0
    assert labels_of(tmp_path / "out") == {"plugin file variable"}
    again = florilegium(*submit)
    assert again.code == 0, again.out + again.err
    assert "shards 2/2 (2 done before)" in again.out
    assert re.search(r"^florilegium-out-\w{10}-2 SUCCEEDED", again.out, re.MULTILINE)


def test_a_config_that_is_wrong_on_the_cluster_ends_with_2(
    written: Write, florilegium: Command
) -> None:
    ended = florilegium("submit", written(wait_for="x"), "--wait")
    assert ended.code == 2, ended.out + ended.err
    assert "unknown key 'wait_for', did you mean 'waits_for'?" in ended.out
    assert "FAILED, exit code 2" in ended.out


def test_a_package_that_the_cluster_lacks_is_named(
    written: Write, tmp_path: Path, florilegium: Command
) -> None:
    config = written()
    (tmp_path / "plugins" / "mine" / "words.py").write_text("import not_on_any_node\n", "utf-8")
    ended = florilegium("submit", config, "--wait")
    assert ended.code == 2, ended.out + ended.err
    assert "No module named 'not_on_any_node'" in ended.out
    assert "`submit --pip PACKAGE` installs it for this job" in ended.err


def test_a_running_job_is_joined_and_cancelled_and_another_one_resumes(
    written: Write, tmp_path: Path, florilegium: Command
) -> None:
    go = tmp_path / "go"
    submit = ("submit", written(waits_for=str(go)), "--env", "FLAVOUR=x")
    ended = florilegium(*submit)
    assert ended.code == 0
    name = re.search(r"^job +(\S+)$", ended.out, re.MULTILINE)[1]  # type: ignore[index]
    assert wait_for((tmp_path / "out" / "index.parquet").exists, seconds=120)
    assert f"{name}, which runs already" in florilegium(*submit).out
    other = florilegium(*submit, "--set", "shard_size=1")
    assert other.code == 3, other.err
    assert name in other.err
    assert json.loads(florilegium("job", "status", name, "--json").out)["status"] == "RUNNING"
    assert wait_for(lambda: bool(workers()), seconds=60)
    assert florilegium("job", "cancel", name).out == f"{name} STOPPED\n"
    assert wait_for(lambda: not workers() and not objects(), seconds=30), "nothing is left behind"
    assert "stopped; finished work is kept" in florilegium("job", "logs", name).out
    go.touch()
    ended = florilegium(*submit, "--wait")
    assert ended.code == 0, ended.out + ended.err
    assert f"{name.removesuffix('1')}2 SUCCEEDED" in ended.out


def test_a_refinement_runs_all_its_rounds_on_the_cluster(
    tmp_path: Path, florilegium: Command
) -> None:
    boxes = {"use": "merge", "tasks": ["object_detection"], "reads": ["shapes_colour"]}
    train = {
        "model": "package://florilegium/specialists/tiny_florence2",
        "tasks": {"object_detection": 1},
        "steps": 2,
        "workers": 1,
    }
    document = {
        "source": "shape_world://12?seed=1&px=32",
        "output": str(tmp_path / "out"),
        "specialists": {"shapes_colour": {}, "boxes": boxes},
        "filters": {"superseded": {"by": {"boxes": ["object_detection"]}}},
        "refine": {
            "rounds": 1,
            "folds": 1,
            "students": {"student": {"tasks": ["object_detection"]}},
            "train": train,
        },
    }
    config = tmp_path / "refined.yaml"
    config.write_text(yaml.safe_dump(document), "utf-8")
    ended = florilegium("submit", config, "--wait")
    assert ended.code == 0, ended.out + ended.err
    assert f"dataset  {tmp_path / 'out'}, round " in ended.out
    assert json.loads((tmp_path / "out" / "refine.json").read_bytes())["rounds"][1]["number"] == 1
    assert florilegium("verify", tmp_path / "out").code == 0


def test_a_build_runs_in_a_container_with_its_config(tmp_path: Path, florilegium: Command) -> None:
    document = {
        "source": "shape_world://2?seed=1&px=32",
        "output": str(tmp_path / "out"),
        "specialists": {"shapes_colour": {}},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document), "utf-8")
    ended = florilegium("submit", config, "--wait", "--image", "florilegium:cpu")
    assert ended.code == 0, ended.out + ended.err
    assert "2 images = 2 samples + 0 dead letters" in ended.out
    wrong = florilegium("submit", config, "--wait", "--image", "florilegium:cpu", "--output", "/x",
                        "--set", "specialists.shapes_colour.no_option=1")  # fmt: skip
    assert wrong.code == 2, wrong.out + wrong.err


def test_a_wrong_token_is_refused(written: Write) -> None:
    code = (
        "import os; os.environ['RAY_AUTH_TOKEN'] = 'f' * 64\n"
        "from florilegium.pipelines.commands.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "submit", str(written())], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "refuses us, " in done.stderr
    assert "set RAY_AUTH_MODE=token, and the cluster's token as RAY_AUTH_TOKEN" in done.stderr
    assert "f" * 64 not in done.stdout + done.stderr
