"""Where services are asked: explained before a run, with a warning for an address of no use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.execution.preparation import Run, prepare
from florilegium.pipelines.commands.services import loopback_warnings, service_lines, share_lines
from tests.building import BRIGHTEST, configure

CLUSTER = {"kind": "ray", "address": "auto"}


def run_of(album: Path, url: str, runner: Any, **options: Any) -> Run:
    annotator = {"use": "lmm_caption", "url": url, "model": "a-model", **options}
    specialists = {**BRIGHTEST, "annotator": annotator}
    config = configure(album, Path("out"), runner=runner, specialists=specialists)
    return prepare(config, is_dry=True)


def test_an_address_is_told_with_the_option_that_changes_it(album: Path) -> None:
    run = run_of(album, "http://some-host:8000/v1/KEY", CLUSTER)
    assert list(service_lines(run)) == [
        "annotator asks a-model at http://some-host:8000  (--set specialists.annotator.url=...)"
    ]


def test_a_share_of_the_images_is_told(album: Path) -> None:
    run = run_of(album, "http://some-host/v1", CLUSTER, sample_share=0.07)
    assert list(share_lines(run)) == ["annotator is asked about 7% of the images"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "0.0.0.0"])
def test_on_a_cluster_an_address_of_each_machine_is_warned_of(album: Path, host: str) -> None:
    (warning,) = loopback_warnings(run_of(album, f"http://{host}/v1", CLUSTER))
    assert warning.startswith(
        f"specialists.annotator.url = 'http://{host}/v1' is each worker's own"
    )
    assert "runner.address = 'auto' is a cluster" in warning


@pytest.mark.parametrize(
    ("url", "runner"),
    [
        ("http://some-host:8000/v1", CLUSTER),
        ("http://127.0.0.1:8000/v1", {"kind": "ray", "address": "local"}),
        ("http://127.0.0.1:8000/v1", {"kind": "in_process", "address": "auto"}),
    ],
)
def test_an_address_that_all_workers_share_is_not_warned_of(
    album: Path, url: str, runner: Any
) -> None:
    assert list(loopback_warnings(run_of(album, url, runner))) == []
