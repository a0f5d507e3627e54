"""The audit over HTTP, without a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.session import AuditSession
from florilegium.pipelines.merge.learning.audit import read_audit
from florilegium.pipelines.serve.app import create_app
from florilegium.pipelines.serve.audit_routes import MAX_BODY, audit_routes

URL = "http://127.0.0.1:8000"
FROM_PAGE = {"origin": URL}


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(scenes, tmp_path_factory.mktemp("audit") / "run"))


@pytest.fixture
def client(run: Path) -> Iterator[TestClient]:
    session = AuditSession(open_dataset(str(run)))
    app = create_app(Folder(str(run)), "secret", audit=audit_routes(session))
    with TestClient(app, base_url=URL, headers=FROM_PAGE) as one:
        one.get("/audit", params={"token": "secret"})
        yield one


def post(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/audit/api/{path}", json={"person": "Ada", **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_person_answers_and_takes_back(client: TestClient, run: Path) -> None:
    asked = post(client, "next")["question"]
    following = post(client, "judge", id=asked["statement"]["id"], answer="wrong")
    assert following["question"]["statement"]["id"] != asked["statement"]["id"]
    assert following["progress"]["own"] == 1
    assert read_audit(str(run / "audit.jsonl")).right == {asked["statement"]["id"]: False}
    again = post(client, "undo")
    assert again["question"] == asked
    assert again["progress"]["own"] == 0


def test_no_score_is_shown_before_a_person_answers(client: TestClient) -> None:
    text = json.dumps(post(client, "next")["question"])
    assert "score" not in text
    assert "confidence" not in text


def test_what_is_missing_is_taken(client: TestClient) -> None:
    key = post(client, "next")["question"]["key"]
    image = post(client, "choose", key=key)["question"]
    assert image["question"] == "image"
    thing = {"task": "object_detection", "label": "star", "box_xyxy": [1, 1, 9, 9]}
    post(client, "search", key=key, missing=[thing])
    assert post(client, "undo")["question"]["missing"][0]["label"] == "star"


def test_an_image_is_sent_as_it_is(client: TestClient, run: Path) -> None:
    sample = next(iter(open_dataset(str(run))))
    answer = client.get("/audit/api/image", params={"key": sample.key})
    assert answer.content == sample.image
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    missing = client.get("/audit/api/image", params={"key": "../../etc/passwd"})
    assert missing.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"person": "Ada"},
        {"person": " ", "id": "a", "answer": "right"},
        {"person": "Ada", "id": "a", "answer": "perhaps"},
        {"person": "Ada", "id": "a", "answer": "right", "more": 1},
        {"person": "Ada", "id": "a", "answer": "fixed", "fix": {}},
        {"person": "Ada", "id": "a", "answer": "fixed", "fix": {"box_xyxy": [5, 5, 1, 1]}},
        {"person": "Ada", "id": "a", "answer": "fixed", "fix": {"box_xyxy": [0, 0, 1e99, 1]}},
        {"person": "Ada", "id": "a", "answer": "fixed", "fix": {"label": "x" * 10_001}},
    ],
)
def test_what_is_malformed_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/audit/api/judge", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_an_answer_that_does_not_fit_its_statement_is_refused(client: TestClient) -> None:
    name = post(client, "next")["question"]["statement"]["id"]
    answer = client.post("/audit/api/judge", json={"person": "Ada", "id": name, "answer": "fixed"})
    assert answer.status_code == 422
    unknown = {"person": "Ada", "id": "nothing", "answer": "right"}
    assert client.post("/audit/api/judge", json=unknown).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"host": "evil.example"}, 400),
        ({"content-type": "text/plain"}, 400),
        ({"cookie": ""}, 403),
    ],
)
def test_only_the_page_of_this_server_may_answer(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    if "cookie" in headers:
        client.cookies.clear()
    content = json.dumps({"person": "Ada"})
    whole = {"content-type": "application/json", **headers}
    assert client.post("/audit/api/next", content=content, headers=whole).status_code == status


def test_a_request_without_an_origin_is_refused(client: TestClient) -> None:
    del client.headers["origin"]
    assert client.post("/audit/api/next", json={"person": "Ada"}).status_code == 400


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    body = {"person": "Ada", "id": "a" * MAX_BODY, "answer": "right"}
    answer = client.post("/audit/api/judge", json=body)
    assert answer.status_code == 400
    assert "bytes" in answer.json()["error"]


def test_without_audit_nothing_can_be_answered(run: Path) -> None:
    app = create_app(Folder(str(run)), "secret")
    with TestClient(app, base_url=URL, headers=FROM_PAGE) as client:
        client.get("/", params={"token": "secret"})
        assert client.post("/audit/api/next", json={"person": "Ada"}).status_code in (404, 405)
        assert client.get("/audit").status_code == 404
