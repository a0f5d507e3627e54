"""Folders, models, Ray, environment, and the config as a whole."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.planning.config import RunnerConfig
from florilegium.pipelines.doctor import cluster, storage
from florilegium.pipelines.doctor.cluster import ray_findings, shared_memory
from florilegium.pipelines.doctor.environment import environment_findings
from florilegium.pipelines.doctor.finding import ABSENT, OK, PROBLEM, WARNING
from florilegium.pipelines.doctor.models import model_findings
from florilegium.pipelines.doctor.readiness import readiness
from florilegium.pipelines.doctor.storage import folder_finding, folder_findings
from tests.building import configure
from tests.pipelines.doctor.conftest import by_name

GB = 10**9
TINY = "package://florilegium/specialists/tiny_florence2"


def disk(monkeypatch: pytest.MonkeyPatch, module: Any, *, free: int, total: int = 100 * GB) -> None:
    usage = SimpleNamespace(free=free, total=total)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)


@pytest.mark.parametrize(
    ("free", "fullest", "level"),
    [
        (GB, 1.0, OK),
        (GB - 1, 1.0, WARNING),
        (5 * GB, 0.95, OK),
        (5 * GB - 1, 0.95, WARNING),
    ],
)
def test_a_folder_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, fullest: float, level: str
) -> None:
    disk(monkeypatch, storage, free=free)
    finding = folder_finding("scratch", tmp_path, "take another", fullest)
    assert finding.level == level
    assert finding.cure == ("take another" if level == WARNING else "")


def test_a_folder_that_is_not_there_yet_is_that_above_it(tmp_path: Path) -> None:
    finding = folder_finding("models", tmp_path / "not" / "there", "")
    assert finding.level == OK
    assert str(tmp_path / "not" / "there") in finding.text


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.os, "access", lambda path, mode: False)
    finding = folder_finding("scratch", tmp_path, "take another")
    assert (finding.level, finding.cure) == (WARNING, "take another")
    assert "cannot be written" in finding.text


def test_three_folders_are_looked_at() -> None:
    names = ["current folder", "temporary files", "models of the hub"]
    assert [finding.name for finding in folder_findings()] == names


DOCUMENTS: dict[str, Any] = {
    "one": {"specialists": {"tiny": {"use": "florence2", "model": TINY}, "rapidocr": None}},
    "two": {
        "specialists": {
            "boxes": {"use": "detector", "model": "someone/never-fetched"},
            "again": {"use": "florence2", "model": TINY},
            "wrong": {"use": "detector", "modle": "x"},
            "module": {"use": "not_imported:Stage"},
        },
        "filters": None,
    },
}


def test_models_are_here_with_their_size_or_counted_by_config() -> None:
    findings = by_name(model_findings(DOCUMENTS, is_wanted=False, is_online=False))
    assert set(findings) == {TINY, "two"}
    missing = findings.pop("two")
    assert (missing.level, missing.cure) == (ABSENT, "")
    assert missing.text == "1 model absent; `florilegium doctor --config two` lists it"
    [tiny] = findings.values()
    assert tiny.level == OK
    assert tiny.text.endswith("MB, for one, two")


def test_models_of_a_config_that_is_not_asked_about_have_one_line() -> None:
    reader = {"use": "pp_ocr", "model": "someone/det", "recogniser": "someone/rec"}
    boxes = DOCUMENTS["two"]["specialists"]["boxes"]
    document = {"specialists": {"ocr": reader, "boxes": boxes, "again": boxes}}
    [finding] = model_findings({"many": document}, is_wanted=False, is_online=False)
    assert finding.text == "3 models absent; `florilegium doctor --config many` lists them"


def test_a_missing_model_of_the_wanted_config_is_a_problem() -> None:
    findings = model_findings({"two": DOCUMENTS["two"]}, is_wanted=True, is_online=False)
    [missing] = [one for one in findings if one.cure]
    assert (missing.level, missing.text) == (PROBLEM, "not in the cache, for two")
    assert missing.cure == "hf download someone/never-fetched"


def test_both_models_of_a_stage_have_their_command() -> None:
    reader = {"use": "pp_ocr", "model": "someone/det", "recogniser": "someone/rec"}
    document = {"specialists": {"ocr": reader}}
    [finding] = model_findings({"mine": document}, is_wanted=True, is_online=False)
    assert finding.name == "someone/det, someone/rec"
    assert finding.cure == "hf download someone/det\nhf download someone/rec"


def test_sizes_are_asked_for_online_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def size(command: str) -> int:
        asked.append(command)
        return 123_000_000

    monkeypatch.setattr("florilegium.specialists.pretrained.hub._size", size)
    list(model_findings(DOCUMENTS, is_wanted=True, is_online=False))
    list(model_findings(DOCUMENTS, is_wanted=False, is_online=True))
    assert asked == []
    findings = by_name(model_findings(DOCUMENTS, is_wanted=True, is_online=True))
    assert findings["someone/never-fetched"].text == "not in the cache (0.1 GB), for two"


@pytest.mark.parametrize(("free", "level"), [(512 << 20, OK), ((512 << 20) - 1, WARNING)])
def test_shared_memory_has_to_hold_the_objects_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    disk(monkeypatch, cluster, free=free)
    finding = shared_memory(tmp_path, 512)
    assert finding.level == level
    assert ("--shm-size=576m" in finding.cure) == (level == WARNING)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address(*, is_online: bool) -> Any:
    runner = RunnerConfig()
    return by_name(ray_findings(runner, is_online=is_online, is_started=False)).get("address")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_in_the_environment_is_tried_online(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{port}")
    assert address(is_online=True).text.endswith("it answers")
    server.close()
    gone = address(is_online=True)
    assert gone.level == WARNING
    assert "does not answer" in gone.text
    assert str(port) not in address(is_online=False).text
    assert address(is_online=False).level == OK


def test_an_address_of_another_form_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:port")
    assert "not of the form HOST:PORT" in address(is_online=True).text
    monkeypatch.delenv("RAY_ADDRESS")
    assert address(is_online=True) is None


def start(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> Any:
    """Start a Ray, which is a stand-in that fails with an error or works."""

    @contextmanager
    def started(runner: RunnerConfig) -> Iterator[None]:
        assert (runner.address, runner.workers) == ("local", 1)
        if error:
            raise error
        yield

    monkeypatch.setattr("florilegium.engine.execution.ray_runner.ray_started", started)
    findings = by_name(ray_findings(RunnerConfig(), is_online=False, is_started=True))
    return findings["start"]


def test_ray_is_started_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, None).text.startswith("started in 0.")
    failed = start(monkeypatch, RunError("cannot reach Ray: no ports"))
    assert failed.level == PROBLEM
    assert failed.text == "it does not start: cannot reach Ray: no ports"
    assert "--runner local" in failed.cure
    names = by_name(ray_findings(RunnerConfig(), is_online=False, is_started=False))
    assert "start" not in names


def test_variables_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(storage.os.environ):
        if name.startswith(("HF_", "AWS_", "OMP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", "hf_never_to_be_seen")
    monkeypatch.setenv("HF_HOME", "/some/where")
    monkeypatch.setenv("OMP_NUM_THREADS", "13")
    findings = by_name(environment_findings())
    assert findings["model hub"].text == "HF_HOME, HF_TOKEN (secret)"
    assert findings["threads and GPUs"].text.split(", ")[-1] == "OMP_NUM_THREADS"
    shown = str(list(findings.values()))
    assert not any(value in shown for value in ("never_to_be_seen", "/some/where", "13"))


@pytest.mark.parametrize(("value", "is_shown"), [("1", True), ("0", False)])
def test_a_hub_that_is_switched_off_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, value: str, is_shown: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert ("HF_HUB_OFFLINE" in by_name(environment_findings())) == is_shown


def test_a_config_that_can_be_built_is_fine(album: Path, tmp_path: Path) -> None:
    unseen, finding = readiness("mine", configure(album, tmp_path / "out"))
    assert (unseen.text, unseen.level) == (
        "tests.stages:Brightest: not imported, not checked",
        WARNING,
    )
    assert (finding.name, finding.level) == ("mine", OK)


def test_what_stops_a_build_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("florilegium.specialists.ocr.rapidocr.RapidOcr.needs", ("not_a_package",))
    specialists = {"rapidocr": {}, "grabcut": {}, "imagenet_cam": {}}
    config = configure(tmp_path / "nowhere", tmp_path / "out", specialists=specialists)
    package, source = readiness("mine", config)
    assert package.level == source.level == PROBLEM
    assert package.text == "stage 'rapidocr' needs not_a_package, not installed"
    assert package.cure == "pip install 'florilegium[starter]'"
    assert "nowhere does not exist" in source.text


def test_two_stages_that_lack_the_same_are_one_problem(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.specialists.words.english.PIPELINES", ("not_a_package",))
    captions = {"imagenet_cam": {}, "template_caption": {}, "phrase_match": {}}
    filters = {"text_filter": {}}
    config = configure(album, tmp_path / "out", specialists=captions, filters=filters)
    [finding] = readiness("mine", config)
    assert finding.text == "spaCy's English pipeline is not installed (looked for not_a_package)"


def test_a_mistake_in_a_config_is_a_problem(album: Path, tmp_path: Path) -> None:
    specialists = {"grabcut": {}}
    [finding] = readiness("mine", configure(album, tmp_path / "out", specialists=specialists))
    assert finding.level == PROBLEM
    assert "reads object_detection" in finding.text


def test_an_output_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    found = by_name(folder_findings(str(tmp_path / "taken" / "out")))["output"]
    assert (found.level, found.text.endswith(f"{tmp_path / 'taken'} is no folder")) == (
        PROBLEM,
        True,
    )
    assert by_name(folder_findings(str(tmp_path / "out")))["output"].level == OK


def test_modules_and_sources_on_other_machines_are_named_as_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    stages = {"mine": {"use": "no_module_of_a_test:Mine"}, "rapidocr": {}}
    config = configure("https://127.0.0.1:9/images/", tmp_path / "out", specialists=stages)
    module, source, rest = readiness("mine", config)
    assert (module.level, source.level, rest.level) == (WARNING, WARNING, OK)
    assert module.text == "no_module_of_a_test:Mine: not imported, not checked"
    assert source.text.endswith("is on another machine: not asked, not checked")
    assert rest.text.startswith("1 stage, ")
