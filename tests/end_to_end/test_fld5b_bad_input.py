"""Bad input of the FLD-5B specialists for a user: an error before the run, or a dead letter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from florilegium.engine.core.tasks import TASKS
from tests.checkpoints import detector, few_shot_caption
from tests.end_to_end.conftest import Command, Ended
from tests.recipes import CONFIGS
from tests.specialists.online.server import (
    Behaviour,
    MisbehavingServer,
    cut,
    empty,
    garbage,
    slow,
    status,
)

ANNOTATORS = ("lmm_caption", "few_shot_caption", "llm_merge")
KEY = "sk-never-to-be-seen-4"
KEY_VARIABLE = "FLD5B_LOOPBACK_KEY"
NOT_TRIED = {"attempts": 1, "backoff_s": 0.0, "timeout_s": 0.5}
MANY = 64
"""More orders than any test has requests."""

Build = Callable[..., Ended]


@pytest.fixture
def build(florilegium: Command, small_photographs: Path, tmp_path: Path) -> Build:
    """Build four photographs with these specialists, in this process."""

    def run(specialists: dict[str, Any], *arguments: str, **keys: Any) -> Ended:
        document = {
            "source": {"url": str(small_photographs), "provides": list(TASKS)},
            "output": str(tmp_path / "out"),
            "runner": "in_process",
            "specialists": specialists,
            **keys,
        }
        config = tmp_path / "run.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        done = florilegium("build", config, *arguments)
        assert "Traceback" not in done.err
        return done._replace(err=" ".join(done.err.split()))

    return run


def annotator(name: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Options of an annotator, with the examples that the few-shot one needs."""
    if name == "few_shot_caption":
        examples = few_shot_caption.write_examples(folder / "examples", count=3)
        options |= {"examples": str(examples), "shots": 2}
    return {name: options}


def test_all_missing_models_of_a_recipe_are_told_at_once_and_each_once(
    florilegium: Command, small_photographs: Path, tmp_path: Path
) -> None:
    config = CONFIGS / "fld5b_small.yaml"
    done = florilegium("build", config, "--source", small_photographs, "--output", tmp_path / "out")
    commands = [line for line in done.err.splitlines() if line.startswith("hf download ")]
    assert done.code == 2
    assert len(commands) == len(set(commands)) == 6
    assert "hf download google/siglip2-base-patch16-224" in commands
    assert not (tmp_path / "out").exists()


def test_random_weights_are_refused_unless_asked_for(build: Build, tmp_path: Path) -> None:
    stage = {"use": "detector", **detector.options(tmp_path), "weights": "random"}
    refused = build({"objects": stage})
    assert refused.code == 2
    assert "stage 'objects' has random weights" in refused.err
    assert "allow_random_weights=true" in refused.err
    assert not (tmp_path / "out").exists()
    allowed = build({"objects": stage}, "--set", "allow_random_weights=true")
    assert allowed.code == 0
    [shard] = (tmp_path / "out" / "shards").glob("*.parquet")
    models = pq.read_table(shard, columns=["model"])["model"].to_pylist()
    assert models
    assert all(model.endswith("(random weights)") for model in models)


@pytest.mark.parametrize("name", ANNOTATORS)
def test_a_template_with_an_unknown_field_is_told_by_a_dry_run(
    name: str, build: Build, tmp_path: Path
) -> None:
    template = tmp_path / "prompt.txt"
    template.write_text("Captions: {{ captoins }}", encoding="utf-8")
    prompts = {"detailed_caption": str(template)}
    done = build(annotator(name, tmp_path, prompts=prompts), "--dry-run")
    assert done.code == 2
    assert f"{template} uses 'captoins'" in done.err
    assert "did you mean 'captions'" in done.err


@pytest.mark.parametrize("name", ANNOTATORS)
def test_a_service_that_is_down_is_told_and_no_image_is_lost(
    name: str, build: Build, tmp_path: Path
) -> None:
    with MisbehavingServer() as server:
        url = server.url
    done = build(annotator(name, tmp_path, url=url, **NOT_TRIED))
    assert done.code == 2
    assert f"the service at url = '{url}' cannot be used: no answer" in done.err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").glob("shards/*.tar"))


@pytest.mark.parametrize(
    ("order", "reason", "message"),
    [
        (status(404, message="no such model"), "service_failed", "no such model"),
        (status(500), "service_failed", "HTTP 500"),
        (status(429), "rate_limited", "HTTP 429"),
        (cut(), "service_failed", "no answer"),
        (garbage(), "invalid_answer", "no chat completion"),
        (empty(), "empty_answer", "no text"),
        (slow(2), "timed_out", "timeout_s"),
    ],
    ids=["404", "500", "429", "cut", "garbage", "empty", "slow"],
)
def test_a_service_that_does_not_answer_makes_dead_letters_with_reasons(
    order: Behaviour, reason: str, message: str, build: Build, tmp_path: Path
) -> None:
    with MisbehavingServer(*[order] * MANY) as server:
        done = build({"lmm_caption": {"url": server.url, **NOT_TRIED}})
    printed = " ".join(done.out.split())
    assert done.code == 1, "nothing is left"
    assert "4 images = 0 samples + 4 dead letters" in printed
    assert f"{reason} 4: " in printed
    letters = pq.read_table(tmp_path / "out" / "dead_letters.parquet").to_pylist()
    assert {(one["stage"], one["reason"]) for one in letters} == {("lmm_caption", reason)}
    assert all(message in one["message"] for one in letters)


def test_a_key_that_is_refused_is_never_repeated(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with MisbehavingServer(*[status(401, message=f"{KEY} is no key")] * MANY) as server:
        done = build({"lmm_caption": {"url": server.url, "api_key_env": KEY_VARIABLE}})
    assert KEY not in done.out + done.err
    letters = pq.read_table(tmp_path / "out" / "dead_letters.parquet").to_pylist()
    assert len(letters) == 4
    assert all("[key] is no key" in one["message"] for one in letters)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.usefixtures("ray_cluster")
def test_a_plan_of_images_that_nobody_can_read_says_why(
    florilegium: Command, small_photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    whole = (small_photographs / "cat.jpg").read_bytes()
    (tmp_path / "broken" / "cat.jpg").write_bytes(whole[:200])
    config = tmp_path / "run.yaml"
    stages = {"bright": {"use": "tests.stages:Brightest"}}
    document = {"source": str(tmp_path / "broken"), "output": str(tmp_path / "out")}
    config.write_text(yaml.safe_dump({**document, "specialists": stages}), encoding="utf-8")
    done = florilegium("plan", config)
    assert done.code == 1
    assert "no image of the sample can be read: the JPEG file is cut" in " ".join(done.err.split())
    assert "Traceback" not in done.err
