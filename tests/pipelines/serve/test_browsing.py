"""What the page is told: the dataset, images, one image with its verdicts, the funnel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.app import create_app
from florilegium.pipelines.serve.catalogue import Catalogue
from florilegium.pipelines.serve.search import AskedBeside, Beside, Search
from florilegium.pipelines.serve.shown import MOST_CHARACTERS, Shown, shown
from tests.pipelines.report.dataset import plain
from tests.pipelines.serve.conftest import SCRIPT, SECRET, dataset


def asked(client: TestClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def keys(client: TestClient, **parameters: Any) -> list[str]:
    return [card["key"] for card in asked(client, "/api/images", **parameters)["cards"]]


def test_the_dataset_is_described(client: TestClient) -> None:
    found = asked(client, "/api/run")
    assert found["name"] == "flowers"
    assert (found["samples"], found["lost"], found["shards"]) == (8, 1, 2)
    assert found["reasons"] == ["strong/too_weak"]
    assert "object_detection" in found["tasks"]
    assert not found["audits"]


def test_all_images_come_in_stored_order_page_after_page(client: TestClient) -> None:
    everything = keys(client)
    assert everything == ["cat0", "cat1", "cat2", "cat3", "cat4", "dog", "weak", "empty"]
    start, found = 0, []
    while start is not None:
        page = asked(client, "/api/images", start=start, limit=3)
        found += [card["key"] for card in page["cards"]]
        start = page["next"]
    assert found == everything


def test_of_a_search_the_images_beside_are_those_that_it_finds(client: TestClient) -> None:
    def beside(start: int, towards: str, **wanted: Any) -> Any:
        return asked(client, "/api/beside", start=start, towards=towards, **wanted)

    assert beside(2, "next", label="dog") == {"found": ["dog", 1], "more": None}
    assert beside(4, "previous", label="dog") == {"found": ["cat1", 0], "more": None}
    assert beside(1, "next", label="dog")["found"] == ["cat1", 0]
    assert beside(6, "next", label="dog") == {"found": None, "more": None}
    assert beside(6, "previous")["found"] == ["weak", 1]
    assert client.get("/api/beside", params={"start": -1, "towards": "next"}).status_code == 422


def test_a_search_for_the_image_beside_that_time_stopped_goes_on(run: Path) -> None:
    search = Search(Catalogue(Folder(str(run))), patience_s=-1)
    first = search.beside(AskedBeside(start=7, towards="previous", text="Cat 3"))
    assert first == Beside(found=None, more=4)
    again = search.beside(AskedBeside(start=4, towards="previous", text="Cat 3"))
    assert again.found == ("cat3", 0)


def test_a_very_long_text_is_cut_in_the_gallery() -> None:
    row = dict.fromkeys(Shown.model_fields) | {"label": "", "text": "x" * 10_000_000}
    row |= {"id": "a", "kind": "text", "task": "caption", "box_xyxy": [], "quad": []}
    card = shown(row | {"specialist": "one", "kept": True})
    assert len(card.text) == MOST_CHARACTERS


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"label": "dog"}, ["cat1", "dog"]),
        ({"text": "cat 3"}, ["cat3"]),
        ({"text": "cat 3", "task": "object_detection"}, []),
        ({"key": "EMP"}, ["empty"]),
        ({"task": "segmentation"}, ["cat1"]),
        ({"specialist": "second"}, ["cat1"]),
        ({"verdict": "dropped"}, ["weak"]),
        ({"verdict": "kept", "key": "weak"}, []),
        ({"reason": "strong/too_weak"}, ["weak"]),
        ({"reason": "strong"}, ["weak"]),
        ({"reason": "strong/other"}, []),
        ({"least": 0.5}, ["cat1"]),
        ({"most": 0.5}, []),
        ({"round": 1}, ["cat1"]),
        ({"none_kept": True}, ["weak", "empty"]),
        ({"none_kept": True, "label": "cat"}, ["weak"]),
        ({"none_kept": True, "key": "e"}, ["weak", "empty"]),
        ({"label": ".*"}, []),
    ],
)
def test_images_are_filtered(
    client: TestClient, wanted: dict[str, Any], expected: list[str]
) -> None:
    assert keys(client, **wanted) == expected
    assert keys(client, **wanted, limit=1) == expected[:1]


def test_a_search_pages_through_what_it_finds(client: TestClient) -> None:
    first = asked(client, "/api/images", label="cat", limit=2)
    rest = asked(client, "/api/images", label="cat", start=first["next"])
    found = [card["key"] for page in (first, rest) for card in page["cards"]]
    assert found == ["cat0", "cat1", "cat2", "cat3", "cat4", "weak"]


def test_shards_that_cannot_have_it_are_not_read(run: Path, client: TestClient) -> None:
    parquet = sorted((run / SHARDS).glob("000000-*.parquet"))[0]
    hidden = parquet.with_suffix(".away")
    parquet.rename(hidden)
    try:
        assert keys(client, reason="strong/too_weak") == ["weak"]
        answer = client.get("/api/images", params={"text": "x"})
        assert answer.status_code == 500
        assert parquet.name in answer.json()["error"]
    finally:
        hidden.rename(parquet)


def test_the_annotations_that_were_asked_for_are_named(client: TestClient) -> None:
    (card,) = asked(client, "/api/images", specialist="second")["cards"]
    named = {one["label"] for one in card["annotations"] if one["id"] in card["hits"]}
    assert named == {"dog", "cat"}
    assert card["total"] == 4


def test_an_image_has_all_annotations_and_verdicts(client: TestClient) -> None:
    found = asked(client, "/api/sample", key="weak", shard=1)
    (one,) = found["annotations"]
    (verdict,) = one["verdicts"]
    assert (verdict["filter"], verdict["keep"], verdict["reason"]) == ("strong", False, "too_weak")
    assert verdict["measurement"] == [["strength", 0.1]]
    assert (found["width"], found["height"], found["place"]) == (40, 60, 6)
    assert (found["previous"], found["next"]) == (["dog", 1], ["empty", 1])
    assert asked(client, "/api/sample", key="cat4")["next"] == ["dog", 1]
    assert asked(client, "/api/sample", key="empty", shard=0)["annotations"] == []


def test_text_is_passed_on_as_it_is(client: TestClient) -> None:
    texts = [one["text"] for one in asked(client, "/api/sample", key="dog")["annotations"]]
    assert SCRIPT in texts


def test_a_lost_image_says_why(client: TestClient) -> None:
    answer = client.get("/api/sample?key=bad")
    assert answer.status_code == 404
    assert "corrupt_image: cut off" in answer.json()["error"]
    assert [one["key"] for one in asked(client, "/api/lost")["letters"]] == ["bad"]
    assert asked(client, "/api/lost", reason="other")["found"] == 0


@pytest.mark.parametrize(
    "path",
    ["/api/images?limit=0", "/api/images?start=-1", "/api/images?nonsense=1", "/api/sample"],
)
def test_a_question_that_cannot_be_answered_is_refused(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_images_are_the_bytes_of_the_tar(client: TestClient) -> None:
    answer = client.get("/api/image?key=cat1&shard=0")
    assert (answer.content, answer.headers["content-type"]) == (plain(colour="olive"), "image/jpeg")
    assert client.get("/api/image?key=empty").headers["content-type"] == "image/png"
    assert client.get("/api/image?key=nowhere").status_code == 404


def test_thumbnails_are_small_and_upright(client: TestClient) -> None:
    answer = client.get("/api/image?key=weak&side=30")
    assert Image.open(io.BytesIO(answer.content)).size == (20, 30)
    assert client.get("/api/image?key=weak&side=100000").status_code == 422


def test_the_funnel_counts_as_the_report(client: TestClient) -> None:
    found = asked(client, "/api/funnel")
    assert (found["inputs"], found["samples"]) == (9, 8)
    assert found["failures"] == [["corrupt_image", 1]]
    assert [(one["filter"], one["dropped"], one["reasons"]) for one in found["steps"]] == [
        ("strong", 1, [["too_weak", 1]])
    ]


def test_a_dataset_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="build the dataset first"):
        create_app(Folder(str(tmp_path)), SECRET)


def test_a_dataset_on_object_storage_is_shown(bucket: str) -> None:
    folder = Folder(f"{bucket}/run")
    dataset(folder)
    with TestClient(create_app(folder, SECRET), base_url="http://127.0.0.1:1") as client:
        client.get("/", params={"token": SECRET})
        assert keys(client, label="dog") == ["cat1", "dog"]
        assert client.get("/api/image?key=cat1").content == plain(colour="olive")
