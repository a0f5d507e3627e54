"""Whole builds with an online stage: nobody pays twice, and the key stays where it was."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.telemetry.prometheus import METRICS_FILE
from florilegium.specialists.online.failure import EMPTY_ANSWER, SERVICE_FAILED
from tests.building import build, configure
from tests.specialists.online.server import USAGE, MisbehavingServer, Request, empty, status

KEY = "sk-never-to-be-seen-7"
KEY_VARIABLE = "LOOPBACK_KEY"
COUNT = 12


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(COUNT):
        pixels = np.full((60, 80, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def built(
    pictures: Path,
    server: MisbehavingServer,
    *,
    retry: bool = True,
    others: Mapping[str, Any] | None = None,
    **options: Any,
) -> Manifest:
    """Build with one caption per image, asked of the server; retry what failed before.

    `others` are specialists beside the one that asks.
    """
    asked = {
        "use": "tests.specialists.online.stages:AskedCaption",
        "url": server.url,
        "api_key_env": KEY_VARIABLE,
        "backoff_s": 0.01,
        "concurrency": 4,
        **options,
    }
    return build(
        pictures,
        pictures.parent / "out",
        retry=retry,
        shard_size=5,
        specialists={"asked": asked, **(others or {})},
        max_dead_letter_share=1.0,
    )


def times_asked(requests: list[Request]) -> Counter[str]:
    return Counter(sha256(request.body).hexdigest() for request in requests)


def reasons(manifest: Manifest) -> Counter[str]:
    return Counter(letter.reason for _, letter in manifest.dead_letters)


def captions(pictures: Path) -> dict[str, list[str]]:
    output = Folder(str(pictures.parent / "out"))
    return {
        one.key: [predicted.text for predicted in one.annotations] for one in Dataset.of(output)
    }


def test_a_budget_ends_half_way_and_the_rest_is_paid_later(pictures: Path) -> None:
    with MisbehavingServer() as server:
        first = built(pictures, server, max_requests=7, retry=False)
        assert len(server.requests) == 7
        assert first.totals.samples == 7
        assert reasons(first) == {BUDGET_EXHAUSTED: COUNT - 7}
        before = captions(pictures)

        second = built(pictures, server, max_requests=7, retry=False)
        assert second.totals.samples == COUNT
        assert len(server.requests) == COUNT
        assert set(times_asked(server.requests).values()) == {1}, "each image was paid once"
    after = captions(pictures)
    assert len(before) == 7
    assert {key: after[key] for key in before} == before
    assert all(len(texts) == 1 for texts in after.values())


@pytest.mark.parametrize("runner", ["in_process", "local"])
def test_what_is_spent_reaches_the_metrics_of_the_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    path = tmp_path / "spent.prom"
    monkeypatch.setenv(METRICS_FILE, str(path))
    asked = {
        "use": "tests.specialists.online.stages:AskedCaption", "api_key_env": KEY_VARIABLE,
        "backoff_s": 0.01, "price_per_request": 0.01, "price_million_tokens_in": 10.0,
        "price_million_tokens_out": 100.0, "batch_size": 2,
    }  # fmt: skip
    with MisbehavingServer(status(500), empty()) as server:
        stages = {"asked": {**asked, "url": server.url}}
        keys: dict[str, Any] = {"shard_size": 5, "specialists": stages, "runner": runner}
        build_dataset(prepare(configure(pictures, tmp_path / "out", **keys)))
        assert len(server.requests) == COUNT + 2, "a failure and an empty answer are asked again"
    found = {
        sample.name.removeprefix("florilegium_"): sample.value
        for family in text_string_to_metric_families(path.read_text("utf-8"))
        for sample in family.samples
        if sample.labels.get("stage") == "asked"
    }
    tokens_in, tokens_out = USAGE
    charged = COUNT + 1  # the server's error is free
    assert found["requests_total"] == COUNT + 2
    assert found["tokens_total"] == charged * (tokens_in + tokens_out)
    price = 0.01 + (tokens_in * 10 + tokens_out * 100) / 1e6
    assert found["cost_total"] == pytest.approx(charged * price)


def test_more_money_asks_only_the_unpaid_whatever_else_changed(pictures: Path) -> None:
    silent = {"silent": {"use": "tests.stages:Silent"}}
    with MisbehavingServer() as server:
        first = built(pictures, server, max_requests=COUNT - 1, retry=False)
        assert reasons(first) == {BUDGET_EXHAUSTED: 1}
        second = built(pictures, server, max_requests=COUNT, retry=False, others=silent)
        assert second.totals.samples == COUNT
        assert set(times_asked(server.requests).values()) == {1}
        assert len(server.requests) == COUNT


def test_a_paid_answer_of_no_use_is_not_asked_again_with_the_unpaid(pictures: Path) -> None:
    with MisbehavingServer(empty()) as server:
        first = built(pictures, server, concurrency=1, attempts=1, max_requests=3, retry=False)
        assert reasons(first) == {EMPTY_ANSWER: 1, BUDGET_EXHAUSTED: COUNT - 3}
        second = built(pictures, server, attempts=1, retry=False)
        assert reasons(second) == {EMPTY_ANSWER: 1}
        assert len(server.requests) == COUNT
        third = built(pictures, server, attempts=1, retry=True)
        assert third.totals.samples == COUNT
        assert len(server.requests) == COUNT + 1


def test_only_what_failed_is_asked_again(pictures: Path) -> None:
    with MisbehavingServer(status(400), status(500)) as server:
        first = built(pictures, server, attempts=1)
        assert reasons(first) == {SERVICE_FAILED: 2}
        failed = {sha256(request.body).hexdigest() for request in server.requests[:2]}
        assert built(pictures, server, attempts=1).totals.samples == COUNT
        asked = times_asked(server.requests)
    assert {image for image, times in asked.items() if times == 2} == failed
    assert len(server.requests) == COUNT + 2


def test_manners_budget_and_port_cost_nothing_when_they_change(pictures: Path) -> None:
    with MisbehavingServer() as server:
        first = built(pictures, server)
    with MisbehavingServer() as moved:
        second = built(pictures, moved, concurrency=1, timeout_s=9, max_requests=3, attempts=2)
        assert not moved.requests
        assert second.to_json() == first.to_json()
        built(pictures, moved, max_tokens=99)
        assert len(moved.requests) == COUNT


def test_a_service_that_is_down_ends_the_build_and_loses_no_sample(pictures: Path) -> None:
    with MisbehavingServer() as server:
        built(pictures, server)
        Image.new("RGB", (80, 60), "red").save(pictures / "new.png")
    with pytest.raises(ConfigError, match="cannot be used: no answer"):
        built(pictures, server)
    with MisbehavingServer() as again:
        assert built(pictures, again).totals.samples == COUNT + 1
        assert len(again.requests) == 1


def test_the_key_stays_in_the_environment(
    pictures: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Incorrect API key provided: {KEY}"
    with MisbehavingServer(status(400, message=echo), status(500, message=echo)) as server:
        manifest = built(pictures, server, attempts=1)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "provided: [key]" in next(manifest.dead_letters)[1].message
    written = [path for path in (pictures.parent / "out").rglob("*") if path.is_file()]
    assert {"report.html", "run.yaml", "dead_letters.parquet"} <= {path.name for path in written}
    assert any("layers" in path.parts for path in written)
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".parquet":  # compressed
            content = repr(pq.read_table(path).to_pylist()).encode()
        assert KEY.encode() not in content, path
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())
