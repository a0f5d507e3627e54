"""The command and the environment of a job, and one job for an output."""

from __future__ import annotations

from base64 import b64decode
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.core.errors import OutputInUse, UsageError
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.pipelines.cluster.client import Cluster
from florilegium.pipelines.cluster.jobs import SUBMISSION
from florilegium.pipelines.cluster.package import Package, pack
from florilegium.pipelines.cluster.submission import Environment, Submission, submission_of, submit
from tests.pipelines.cluster.server import JobServer

OUTPUT = "s3://bucket/out"
NONE = Environment.of(())


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return packed(tmp_path / "package")


def packed(folder: Path, **keys: Any) -> Package:
    folder.mkdir()
    document = {"source": "/in", "output": OUTPUT, "specialists": {"x": {}}, **keys}
    return pack(document, validated(RunConfig, document, where="test"), folder)


def of(package: Package, **options: Any) -> Submission:
    return submission_of(package, OUTPUT, **{"flags": (), "environment": NONE, **options})


def test_the_command_runs_rays_own_python_with_our_flags(package: Package) -> None:
    submission = of(package, flags=["--check", "--replace"])
    own = 'exec "$(readlink /proc/$PPID/exe)" florilegium_job.py'
    assert submission.command == (
        f"{own} {version('florilegium')} build florilegium_job.yaml --check --replace"
    )
    assert submission.runtime_env == {
        "working_dir": str(package.folder),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "30"},
    }
    with_packages = of(package, pip=["timm", "x>=1"])
    assert with_packages.command.startswith(f"{own} --pip {version('florilegium')} build ")
    assert with_packages.runtime_env["pip"] == ["timm", "x>=1"]


def test_a_refresh_is_another_command_of_the_same_job(package: Package) -> None:
    flags = ["--accept"]
    submission = of(package, command="refresh", flags=flags)
    assert submission.command.endswith(" refresh florilegium_job.yaml --accept")
    in_image = of(package, command="refresh", flags=flags, image="i")
    assert in_image.command.endswith('exec python -m florilegium refresh "$config" --accept')
    assert submission.name == of(package).name
    assert submission.digest != of(package, flags=flags).digest


def test_variables_have_the_value_that_is_given_or_the_one_they_have_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODE", "from here")
    read = Environment.of(["MODE", "SIZE=3=4", "HF_TOKEN=given", "EMPTY="])
    assert read.variables == {
        "MODE": "from here",
        "SIZE": "3=4",
        "HF_TOKEN": "given",
        "EMPTY": "",
    }
    assert read.secrets == ("from here", "given")
    with pytest.raises(UsageError, match="--env ABSENT: it is not set here; set it, or give"):
        Environment.of(["ABSENT"])
    with pytest.raises(UsageError, match="--env '3X' is no variable: give NAME or NAME=VALUE"):
        Environment.of(["3X=1"])


def test_the_value_of_a_variable_is_no_part_of_the_digest_but_its_name_is(package: Package) -> None:
    one, two = (of(package, environment=Environment.of([f"A={value}"])) for value in "12")
    assert one.digest == two.digest != of(package).digest


def test_every_option_is_part_of_the_digest(package: Package, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"flags": ["--check"]}, {"pip": ["a"]}, {"image": "i"}]
    digests = {of(package, **one).digest for one in options}
    digests.add(of(packed(tmp_path / "other", shard_size=3)).digest)
    assert len(digests) == len(options) + 1


def test_in_an_image_the_config_goes_along_as_a_variable(package: Package) -> None:
    submission = of(package, image="florilegium:1", flags=["--check"])
    assert submission.runtime_env.keys() == {"image_uri", "env_vars"}
    assert submission.runtime_env["image_uri"] == "florilegium:1"
    sent = submission.runtime_env["env_vars"]["FLORILEGIUM_CONFIG"]
    assert yaml.safe_load(b64decode(sent))["output"] == OUTPUT
    assert submission.command.endswith('exec python -m florilegium build "$config" --check')


def test_an_image_takes_neither_files_nor_packages(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("tree", encoding="utf-8")
    files = packed(tmp_path / "files", filters={"f": {"path": "words.txt"}})
    with pytest.raises(UsageError, match=r"this job needs words.txt: put them into the image"):
        of(files, image="i")
    with pytest.raises(UsageError, match=r"this job needs --pip timm: put them into the image"):
        of(package, image="i", pip=["timm"])
    large = packed(tmp_path / "large", filters={"f": {"text": "x" * 90_000}})
    with pytest.raises(UsageError, match=r"the config has 90\d+ bytes, and goes along"):
        of(large, image="i")


def test_the_same_submission_twice_is_one_job(server: JobServer, package: Package) -> None:
    cluster, submission = Cluster(server.address), of(package)
    first, is_new = submit(cluster, submission)
    assert (first, is_new) == (f"{submission.name}-1", True)
    assert submit(cluster, submission) == (first, False)
    assert list(server.jobs) == [first]
    assert server.jobs[first]["metadata"][SUBMISSION] == submission.digest
    assert len(server.packages) == 1


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_a_job_that_ended_is_followed_by_another_attempt(
    server: JobServer, package: Package, status: str
) -> None:
    cluster, submission = Cluster(server.address), of(package)
    submit(cluster, submission)
    server.jobs[f"{submission.name}-1"]["status"] = status
    assert submit(cluster, submission) == (f"{submission.name}-2", True)
    assert len(server.jobs) == 2


def test_another_submission_for_the_output_is_refused_while_a_job_writes_it(
    server: JobServer, package: Package
) -> None:
    cluster = Cluster(server.address)
    name, _ = submit(cluster, of(package))
    with pytest.raises(
        OutputInUse, match=rf"the job {name} of this cluster writes s3://bucket/out"
    ):
        submit(cluster, of(package, flags=["--check"]))
    assert len(server.jobs) == 1


def test_of_two_that_submit_at_the_same_moment_one_joins_the_other(
    server: JobServer, package: Package
) -> None:
    submission = of(package)
    name = f"{submission.name}-1"
    server.rivals = [{"name": name, "metadata": {SUBMISSION: submission.digest}}]
    assert submit(Cluster(server.address), submission) == (name, False)
    assert len(server.jobs) == 1
