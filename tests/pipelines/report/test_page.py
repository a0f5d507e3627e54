"""The report as a reader gets it: what is on the page, and what can never be."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import REPORT
from florilegium.pipelines.report.page import write_report
from florilegium.pipelines.report.paper import NOT_COMPARABLE
from tests.pipelines.report.dataset import (
    Page,
    Photo,
    box,
    caption,
    finished,
    phrase,
    plain,
    publish,
)

NASTY = "<script>alert(\"x\")</script> & 'quotes' <img src=x onerror=alert(1)>"
HEBREW = "\u05d7\u05ea\u05d5\u05dc \u202e\u05d9\u05e9\u05df"


def written(output: Folder) -> str:
    write_report(output, finished(output))
    return (output.read(REPORT) or b"").decode()


def a_cat(key: str = "cat", **changes: object) -> Photo:
    annotations = (caption(), box(), phrase("A cat", (0, 5)), box("weak", score=0.2))
    return Photo(key=key, data=plain(), annotations=annotations)


def test_the_page_has_no_external_resources(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    html = written(output)
    for element in Page(html).elements:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            address = element.attributes.get(name, "#")
            assert address.startswith(("#", "data:image/jpeg;base64,"))
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {"#hatch"}
    assert "@import" not in html


def test_the_policy_lets_only_the_pages_own_script_run(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    page = Page(written(output))
    (script,) = page.find("script")
    digest = base64.b64encode(sha256("".join(script.text).encode()).digest()).decode()
    policy = page.find("meta")[1].attributes["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy


def test_texts_of_the_dataset_never_become_markup(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    annotations = (
        caption(NASTY, specialist=NASTY),
        box(label=NASTY, model=NASTY),
        phrase(NASTY[:8], (0, 8)),
        box("read", label="", text=NASTY, task="ocr"),
        caption(NASTY, id="tag", task="tag", specialist="tagger"),
        box("own", task="<b>own task</b>"),
    )
    letter = DeadLetter(key=NASTY, source=NASTY, stage=NASTY, reason=NASTY, message=NASTY)
    publish(
        output, [Photo(key="a-key", data=plain(), annotations=annotations)], dead_letters=[letter]
    )
    page = Page(written(output))
    assert len(page.find("script")) == 1
    assert len(page.find("b")) == 0
    assert not [one for one in page.elements if {"onerror", "onmouseover"} & set(one.attributes)]
    assert all("alt" in image.attributes for image in page.find("img"))
    (shown,) = [one.content for one in page.find("p") if one.attributes.get("dir") == "auto"]
    assert shown == NASTY
    assert [one.content for one in page.find("bdi", "path")] == [NASTY]


def test_right_to_left_text_is_isolated(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    annotations = (caption(HEBREW), box("read", label="", text=HEBREW, task="ocr"))
    publish(output, [Photo(key="a-key", data=plain(), annotations=annotations)])
    page = Page(written(output))
    assert HEBREW in [one.content for one in page.find("p") if one.attributes.get("dir") == "auto"]
    assert HEBREW in [one.content for one in page.find("bdi")]


def test_the_same_dataset_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    pages = []
    for name in ("here", "there"):
        output = Folder(str(tmp_path / name))
        publish(output, [a_cat()], [a_cat("dog")])
        pages.append(written(output))
        assert str(tmp_path) not in pages[-1]
    assert pages[0] == pages[1]
    assert written(output) == pages[1]


def test_a_dataset_on_another_file_system_is_read(tmp_path: Path) -> None:
    numbers = count()
    output = Folder(f"memory://report-{next(numbers)}")
    publish(output, [a_cat()])
    assert len(Page(written(output)).find("article", "plate")) == 1


def test_annotations_are_counted_by_specialist_and_by_task(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()], [a_cat("dog")])
    page = Page(written(output))
    specialists, tasks = (" ".join(one.content.split()) for one in page.find("table", "bars"))
    assert specialists.endswith("detector 2 2 captioner 2 0 grounder 2 0")
    assert tasks.endswith("object detection 2 2 caption 2 0 phrase grounding 2 0")
    assert page.find("h1")[0].content == "6 annotations on 2 images"


def test_the_funnel_follows_the_filters_of_the_run(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    child = box("child", score=None, parent_id="weak")
    publish(output, [Photo(key="cat", data=plain(), annotations=(box("weak", score=0.2), child))])
    output.publish("run.yaml", b"filters: {zeal: {}, strong: {}}")
    (funnel,) = Page(written(output)).find("table", "funnel")
    rows = " ".join(funnel.content.split())
    assert rows.endswith("zeal 2 0 strong 1 1 too_weak 1 lineage 0 1 parent_dropped 1")


def test_dropped_annotations_are_hidden_and_show_their_reason(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    page = Page(written(output))
    (dropped,) = page.find("g", "region", "dropped")
    assert "off" in dropped.classes
    assert dropped.content.endswith("dropped by strong: too_weak (strength 0.2)")
    switches = {one.attributes["value"]: one.attributes for one in page.find("input")}
    assert "checked" in switches["kept"]
    assert "checked" not in switches["dropped"]


def test_every_specialist_and_task_has_a_switch(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    page = Page(written(output))
    switches = {one.attributes["value"] for one in page.find("input")}
    used = {name for one in page.elements for name in one.attributes.get("data-of", "").split()}
    assert switches == {"s0", "s1", "s2", "t0", "t1", "t2", "kept", "dropped"}
    assert used == switches


def test_a_phrase_and_its_box_share_a_region_id(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    page = Page(written(output))
    (mark,) = page.find("mark")
    assert mark.content == "A cat"
    regions = page.find("g", "region", "kept")
    assert {one.attributes["data-at"] for one in regions} == {mark.attributes["data-at"]}


def test_failed_inputs_are_shown_by_reason_with_a_few_examples(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    letters = [
        DeadLetter(key=f"k{n}", source=f"{n}.jpg", stage="source", reason="empty_file", message="!")
        for n in range(5)
    ]
    publish(output, [a_cat()], dead_letters=letters)
    page = Page(written(output))
    (loss,) = page.find("div", "loss")
    assert " ".join(loss.content.split()).startswith("empty_file 5 k0 source: ! 0.jpg k1")
    assert len(page.find("bdi", "path")) == 3


def test_a_dataset_without_samples_has_a_report(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    page = Page(written(output))
    assert page.find("h1")[0].content == "0 annotations on 0 images"


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    (stats,) = publish(output, [a_cat()])
    output.publish(f"shards/{stats.name}.tar", b"no tar at all" * 100)
    with pytest.raises(StorageError, match=rf"{stats.name}\.tar.*florilegium verify"):
        write_report(output, finished(output))


def test_means_of_the_paper_that_cannot_be_compared_have_a_star(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [a_cat()])
    starred = [one for one in Page(written(output)).find("td", "paper") if "*" in one.content]
    assert len(starred) == len(NOT_COMPARABLE)
    assert "28.06*" in [one.content for one in starred]
