"""Most files in `configs/deploy`: the image, the launcher of clusters, Slurm, schedulers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.commands import parse

DEPLOY = ROOT / "configs" / "deploy"
TEXTS = {path.name: path.read_text("utf-8") for path in DEPLOY.iterdir() if path.is_file()}


def test_every_file_is_looked_at_here_or_beside() -> None:
    assert TEXTS.keys() == {
        *("Dockerfile", "rayjob.yaml", "raycronjob.yaml", "cronjob.yaml", "ray_cluster.yaml"),
        *("slurm.sbatch", "slurm_array.sbatch", "airflow_dag.py", "dagster_job.py"),
        *("grafana.json", "metrics.md"),
    }


def test_no_file_names_a_host_and_every_image_is_a_plain_name() -> None:
    images = re.compile(r"^\s*(?:image: |FROM )(\S+)", re.MULTILINE)
    plain = re.compile(r"florilegium:\w+|python:\$\{PYTHON\}-slim|base|\$\{DEVICE\}")
    for name, text in TEXTS.items():
        hosts = re.findall(r"https?://([\w.-]+)", text)
        assert set(hosts) <= {"HEAD", "CLUSTER-head-svc", "127.0.0.1"}, name
        for image in images.findall(text):
            assert plain.fullmatch(image), image


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_command_of_ours_in_comments_and_scripts_is_one(name: str) -> None:
    text = re.sub(r"\\\n[#\s]*", " ", TEXTS[name])
    lines = re.findall(
        r"^[#\s]*(?:exec )?(florilegium (?:build|submit) [^&\n`]+)", text, re.MULTILINE
    )
    for line in lines:
        ready = line.replace('"$@"', "CONFIG").replace("$address", "10.0.0.1:20000")
        assert parse(ready)
    counts = {"ray_cluster.yaml": 1, "rayjob.yaml": 1, "slurm.sbatch": 1, "slurm_array.sbatch": 2}
    assert len(lines) == counts.get(name, 0)


def test_the_image_installs_extras_that_exist_and_copies_what_is_packed() -> None:
    text = TEXTS["Dockerfile"]
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert extras
    assert set(extras[1].split(",")) <= project["project"]["optional-dependencies"].keys()
    assert "cluster" in extras[1].split(",")
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
    assert stages == ["base", "cpu", "cuda"]
    default = re.search(r"^ARG DEVICE=(\w+)$", text, re.MULTILINE)
    assert default
    assert default[1] in stages
    copied = " ".join(re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)).split()
    assert all((ROOT / one).exists() for one in copied)
    packages = [
        one.rstrip("*") for one in project["tool"]["setuptools"]["packages"]["find"]["include"]
    ]
    wanted = {*packages, "pyproject.toml", project["project"]["readme"], "LICENSE"}
    assert wanted <= set(copied)


def test_the_launcher_of_clusters_takes_its_config_and_grows_for_the_build() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(TEXTS["ray_cluster.yaml"])
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="'max_worker' was unexpected"):
        validate_config(prepare_config({**config, "max_worker": 1}))
    gpu = config["available_node_types"]["gpu"]
    assert gpu["min_workers"] < gpu["max_workers"] == config["max_workers"]
    (command,) = re.findall(r"florilegium submit .*\\\n.*", TEXTS["ray_cluster.yaml"])
    options = parse(re.sub(r"\\\n#\s*", "", command))["overrides"]
    assert isinstance(options, list)
    assert any(one.startswith("runner.wait_for_nodes_s=") for one in options), "who asks for nodes"


STUBS = {
    "scontrol": "#!/bin/sh\nprintf 'n1\\nn2\\nn3\\n'\n",
    "srun": """#!/bin/bash
node=?
while [[ $1 == --* ]]; do [[ $1 == --nodelist=* ]] && node=${1#*=}; shift; done
echo "$node $*" >> "$CALLS"
exec "$@"
""",
    "hostname": "#!/bin/sh\necho 10.0.0.1 fe80::1\n",
    "ray": "#!/bin/sh\nexec sleep 100\n",
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    "florilegium": """#!/bin/sh
echo "florilegium $* $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >> "$CALLS"
exit "$CODE"
""",
}
RAY = """
import os
def init(address, **_):
    assert address == "10.0.0.1:20042"
    if not os.path.exists(os.environ["CALLS"] + ".tried"):
        open(os.environ["CALLS"] + ".tried", "w").close()
        raise ConnectionError
def nodes(): return [{"Alive": True}] * 3
def shutdown(): pass
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of Slurm whose programs write down how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in STUBS.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755)
    (folder / "ray.py").write_text(RAY, "utf-8")
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "PYTHONPATH": str(folder),
        "CALLS": str(tmp_path / "calls"),
        "CODE": "0",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_JOB_ID": "1230042",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "4",
    }


@pytest.mark.parametrize("code", ["0", "2"])
def test_slurm_starts_ray_on_all_nodes_and_ends_with_the_code_of_the_build(
    slurm: dict[str, str], tmp_path: Path, code: str
) -> None:
    command = ["bash", str(DEPLOY / "slurm.sbatch"), "c.yaml", "--output", "/scratch/out"]
    done = subprocess.run(command, env={**slurm, "CODE": code}, capture_output=True, text=True)
    assert done.returncode == int(code), done.stderr
    calls = (tmp_path / "calls").read_text("utf-8").splitlines()
    size = "--num-cpus=16 --num-gpus=4 --disable-usage-stats --block"
    start = "--head --node-ip-address=10.0.0.1 --port=20042 --include-dashboard=false"
    assert calls[0] == "n1 hostname --ip-address"
    assert sorted(calls[1:4]) == [
        f"n1 ray start {start} --temp-dir=/tmp/ray-1230042 {size}",
        f"n2 ray start --address=10.0.0.1:20042 {size}",
        f"n3 ray start --address=10.0.0.1:20042 {size}",
    ]
    build = "build c.yaml --output /scratch/out --runner ray --set runner.address=10.0.0.1:20042"
    assert calls[4:] == [f"florilegium {build} token 64"]


def test_slurm_passes_the_signal_to_the_build_and_waits_for_its_end(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    stopped = "trap 'echo stopped >> \"$CALLS\"; exit 143' TERM\n"
    text = f"#!/bin/bash\n{stopped}echo ready; for _ in {{1..1000}}; do sleep 0.02; done\n"
    (tmp_path / "bin" / "florilegium").write_text(text, "utf-8")
    command = ["bash", str(DEPLOY / "slurm.sbatch"), "c.yaml"]
    with subprocess.Popen(command, env=slurm, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(20) == 143
    assert (tmp_path / "calls").read_text("utf-8").splitlines()[-1] == "stopped"


@pytest.mark.parametrize("name", ["slurm.sbatch", "slurm_array.sbatch"])
def test_slurm_without_a_config_is_wrong_usage(slurm: dict[str, str], name: str) -> None:
    done = subprocess.run(["bash", str(DEPLOY / name)], env=slurm, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"usage: sbatch {name} CONFIG" in done.stderr


@pytest.mark.parametrize(
    ("task", "call"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3"}, "--slice 3/16 --set runner.address=local --set"),
        ({"SLURM_ARRAY_TASK_ID": "64", "SLICES": "64"}, "--slice 64/64 --set runner.address="),
        ({}, "--finish c.yaml --output /scratch/out"),
    ],
)
@pytest.mark.parametrize("code", ["0", "1"])
def test_a_task_of_an_array_builds_its_slice_and_the_job_after_it_finishes(
    slurm: dict[str, str], tmp_path: Path, task: dict[str, str], call: str, code: str
) -> None:
    command = ["bash", str(DEPLOY / "slurm_array.sbatch"), "c.yaml", "--output", "/scratch/out"]
    environment = {**slurm, **task, "CODE": code, "RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == int(code), done.stderr
    (line,) = (tmp_path / "calls").read_text("utf-8").splitlines()
    assert line.startswith(f"florilegium build {call}")
    assert "c.yaml --output /scratch/out" in line
    assert ("runner.workers=16" in line) == bool(task)


def test_the_numbers_of_an_array_are_those_of_its_slices() -> None:
    text = TEXTS["slurm_array.sbatch"]
    arrays = re.findall(r"--array=1-(\d+) slurm_array", text)
    assert arrays == re.findall(r"\$\{SLICES:-(\d+)\}", text)


class Failed(Exception):
    """What a scheduler learns: this failed; `allow_retries` as Dagster has it."""

    def __init__(self, message: str, allow_retries: bool = True) -> None:
        super().__init__(message)
        self.allow_retries = allow_retries


def module(monkeypatch: pytest.MonkeyPatch, name: str, **fakes: Any) -> ModuleType:
    """Import an example in which the scheduler's library is replaced."""
    for fake, contents in fakes.items():
        stand_in = ModuleType(fake.replace("__", "."))
        vars(stand_in).update(contents)
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def ends_with(monkeypatch: pytest.MonkeyPatch, code: int, calls: list[dict[str, object]]) -> None:
    """Let commands end with a code; what they are is parsed by our command line."""

    def run(command: list[str]) -> Any:
        calls.append(parse(command))
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(
    ("code", "error"), [(0, None), (1, RuntimeError), (2, Failed), (4, Failed)]
)
def test_the_dag_of_airflow_refreshes_and_does_not_repeat_what_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception] | None
) -> None:
    calls: list[dict[str, object]] = []
    ends_with(monkeypatch, code, calls)
    given: dict[str, Any] = {}

    def dag(**options: Any) -> Any:
        given.update(options)
        return lambda function: function

    fakes = {
        "airflow": {},
        "airflow__sdk__exceptions": {"AirflowFailException": Failed},
        "airflow__sdk": {"dag": dag, "task": lambda function: function},
    }
    if error is None:
        module(monkeypatch, "airflow_dag", **fakes)
    else:
        with pytest.raises(error):
            module(monkeypatch, "airflow_dag", **fakes)
    assert given["max_active_runs"] == 1
    (call,) = calls
    assert (call["refresh"], call["wait"]) == (True, True)


@pytest.mark.parametrize(("code", "repeats"), [(0, None), (1, True), (2, False), (4, False)])
def test_the_asset_of_dagster_refreshes_and_does_not_repeat_what_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, code: int, repeats: bool | None
) -> None:
    calls: list[dict[str, object]] = []
    ends_with(monkeypatch, code, calls)
    names = ("RetryPolicy", "ScheduleDefinition", "Definitions")
    fakes: dict[str, Any] = dict.fromkeys(names, SimpleNamespace)
    fakes["asset"] = lambda **_: lambda function: function
    fakes["define_asset_job"] = lambda name, assets: (name, assets)
    fakes["Failure"] = Failed
    example = module(monkeypatch, "dagster_job", dagster=fakes)
    if repeats is None:
        example.photographs()
    else:
        with pytest.raises(Failed) as failure:
            example.photographs()
        assert failure.value.allow_retries is repeats
    (call,) = calls
    assert (call["refresh"], call["wait"]) == (True, True)
