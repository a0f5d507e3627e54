"""Only the page itself may ask: with the token, under the server's name, from its own origin."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from florilegium.pipelines.serve.guard import HEADERS
from tests.pipelines.serve.conftest import ADDRESS, SECRET

PATHS = ("/", "/image", "/static/main.js", "/api/run", "/api/image?key=dog")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "florilegium serve" in answer.text


def test_a_wrong_token_is_refused(stranger: TestClient) -> None:
    assert stranger.get("/?token=the-tokem").status_code == 403
    assert stranger.get("/", params={"token": "é"}).status_code == 403
    assert not stranger.cookies


def test_the_token_leaves_the_url_and_becomes_a_cookie_that_scripts_cannot_read(
    stranger: TestClient,
) -> None:
    answer = stranger.get(f"/image?key=a%26b&token={SECRET}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/image?key=a%26b")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/api/run").status_code == 200


def test_the_redirect_stays_on_the_server(stranger: TestClient) -> None:
    answer = stranger.get(f"{ADDRESS}//evil.example/?token={SECRET}", follow_redirects=False)
    assert answer.headers["location"] == "/evil.example/"


@pytest.mark.attack("rebinding")
def test_another_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/api/run", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.attack("cross-site")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/run", headers=headers).status_code == 403
    own = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/run", headers=own).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_every_answer_forbids_other_sources(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    for path in ("/", "/api/run", "/api/images", "/api/image?key=dog"):
        assert client.request(method, path).status_code == 405


@pytest.mark.attack("traversal")
@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"]
)
def test_only_files_of_the_page_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
