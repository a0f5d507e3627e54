"""A small dataset of two shards, with everything that the page shows, and a client of its app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from starlette.testclient import TestClient

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.finished_shards import list_shards
from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST, Manifest
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.versions import remember
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.app import create_app
from florilegium.pipelines.serve.guard import TOKEN
from tests.pipelines.report.dataset import Photo, box, caption, plain, publish
from tests.pipelines.serve.browser import CHROMIUM, DRIVER, Browser

SECRET = "the-token"
ADDRESS = "http://127.0.0.1:8000"
SCRIPT = "<img src=x onerror=document.title=1>"


def mask_of(pixels: np.ndarray) -> MaskRLE:
    """Return a mask in COCO's form."""
    encoded = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return MaskRLE(size=tuple(encoded["size"]), counts=encoded["counts"].decode())


def finish(output: Folder, shards: ShardTable, *, has_state: bool = True) -> None:
    """Write the manifest of shards, and the state."""
    graph = Graph(specialists=(), filters=(), images="original")
    manifest = Manifest.of(graph, ["here"], shards)
    output.publish(MANIFEST, manifest.to_json())
    output.publish(DEAD_LETTERS, manifest.dead_letters_file)
    if has_state:
        remember(output, manifest, list_shards(output, shards))


def dataset(output: Folder) -> None:
    """Write two shards: cats, then a dog, an image with a dropped box and one with nothing."""
    inner = np.zeros((48, 64), bool)
    inner[10:20, 12:30] = True
    cats = [
        Photo(key=f"cat{number}", data=plain(), annotations=(box(), caption(f"Cat {number}.")))
        for number in range(5)
    ]
    cats[1] = Photo(
        key="cat1",
        data=plain(colour="olive"),
        annotations=(
            box(confidence=0.8),
            box("other", specialist="second", label="dog"),
            box("alone", specialist="second", box_xyxy=(50.0, 40.0, 60.0, 47.0)),
            box("mask", task="segmentation", mask_rle=mask_of(inner), round=1),
        ),
    )
    others = [
        Photo(key="dog", data=plain(), annotations=(box(label="Dog"), caption(SCRIPT))),
        Photo(key="weak", data=plain(40, 60), annotations=(box(score=0.1),)),
        Photo(key="empty", data=plain(format="PNG")),
    ]
    letter = DeadLetter(
        key="bad", source="bad.jpg", stage="source", reason="corrupt_image", message="cut off"
    )
    finish(output, publish(output, cats, others, dead_letters=[letter]))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the dataset, which nobody changes."""
    path = tmp_path_factory.mktemp("serve") / "flowers"
    dataset(Folder(str(path)))
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all pages: its start takes a second."""
    pytest.importorskip("selenium", reason="selenium drives the browser")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("chromium and chromedriver are not there")
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def stranger(run: Path) -> Iterator[TestClient]:
    """A client without the token."""
    app = create_app(Folder(str(run)), SECRET)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=True) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """A client that opened the link with the token."""
    assert stranger.get("/", params={TOKEN: SECRET}).status_code == 200
    return stranger
