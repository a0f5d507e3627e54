"""Rounds of a refinement side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from florilegium.pipelines.serve.app import create_app
from tests.pipelines.refine.rounds import Labels, box, refined, text
from tests.pipelines.serve.conftest import ADDRESS, SECRET

SQUARE, DISC = box("square", 6, 8, 26, 28), box("disc", 34, 30, 58, 54)
BEFORE: Labels = {"a": [SQUARE], "b": [SQUARE, box("star", 0, 0, 9, 9)]}
AFTER: Labels = {"a": [SQUARE, DISC, text("A square.")], "b": [SQUARE]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    run = refined(tmp_path_factory.mktemp("run"), BEFORE, AFTER, keys="ab", is_finished=True)
    with TestClient(create_app(run, SECRET), base_url=ADDRESS) as client:
        client.get("/", params={"token": SECRET})
        yield client


def labels(client: TestClient, key: str, **parameters: int) -> set[str]:
    found = client.get("/api/sample", params={"key": key, **parameters}).json()
    return {one["label"] for one in found["annotations"] if one["label"]}


def test_the_rounds_are_listed(client: TestClient) -> None:
    assert [one["number"] for one in client.get("/api/run").json()["rounds"]] == [0, 1]


def test_an_image_has_the_labels_of_each_round(client: TestClient) -> None:
    assert labels(client, "a") == {"square", "disc"}
    assert labels(client, "a", round=0) == {"square"}
    assert labels(client, "b", round=0) == {"square", "star"}
    assert client.get("/api/image", params={"key": "a", "round": 1}).status_code == 200


@pytest.mark.parametrize("path", ["/api/sample", "/api/image"])
def test_a_round_that_is_not_there_is_named(client: TestClient, path: str) -> None:
    answer = client.get(path, params={"key": "a", "round": 7})
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no finished round 7")


def test_what_changed_most_comes_first_with_both_images(client: TestClient) -> None:
    found = client.get("/api/compared", params={"before": 0, "after": 1}).json()
    assert [pair["key"] for pair in found["pairs"]] == ["a", "b"]
    first = found["pairs"][0]
    assert (first["before"]["total"], first["after"]["total"]) == (1, 3)
    tasks = {one["task"]: (one["added"], one["dropped"]) for one in found["tasks"]}
    assert tasks == {"caption": (1, 0), "object_detection": (1, 1)}
