from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.filters.blacklist import BLACKLISTED, Blacklist, BlacklistConfig
from tests.pipelines.filters.statements import box, caption, phrase, reasons, statements


@pytest.fixture
def listed(tmp_path: Path) -> Blacklist:
    path = tmp_path / "list.txt"
    path.write_text("image\n* stock photo\n", encoding="utf-8")
    return Blacklist(BlacklistConfig(path=str(path)))


def judged(blacklist: Blacklist, *annotations: Annotation, **options) -> list[str]:
    return reasons(blacklist.judge(statements(annotations, **options)))


def test_labels_and_phrases_are_judged(listed):
    rows = [
        box(0, 0, 9, 9, label="image"),
        box(0, 0, 9, 9, label="cat", text="image"),
        box(0, 0, 9, 9, label="", text="The images", task="dense_region_caption"),
        phrase(0, 0, 9, 9, text="The image", span=(0, 9)),
        phrase(0, 0, 9, 9, text="A cat", label="image", span=(0, 5)),
    ]
    assert judged(listed, *rows) == [BLACKLISTED, "", BLACKLISTED, BLACKLISTED, ""]


def test_captions_are_judged_by_entries_that_match_anywhere(listed):
    rows = [
        caption("A stock photo of a cat."),
        caption("Image."),
        caption('A sign that reads "stock photo".'),
        phrase(0, 0, 9, 9, text="a stock photo of a cat", span=(0, 22)),
    ]
    assert judged(listed, *rows) == [BLACKLISTED, "", "", BLACKLISTED]


def test_recognised_text_and_unnamed_regions_are_not_judged(listed):
    rows = [box(0, 0, 9, 9, label="", text="image", task="ocr"), box(0, 0, 9, 9, label="")]
    verdicts = listed.judge(statements(rows))
    assert reasons(verdicts) == ["", ""]
    assert not verdicts.is_judged.any()


def test_a_phrase_that_quotes_the_image_is_not_judged(listed):
    rows = [
        caption('An image of a sign that reads "IMAGE".', id="caption"),
        phrase(0, 0, 9, 9, text="IMAGE", span=(31, 36)),
        phrase(0, 0, 9, 9, text="An image", span=(0, 8)),
        phrase(0, 0, 9, 9, text="An image", span=()),
        phrase(0, 0, 9, 9, text="An image", span=(99, 107)),
    ]
    assert judged(listed, *rows) == ["", "", *[BLACKLISTED] * 3]


def test_names_and_captions_are_judged_that_pass(listed):
    rows = [box(0, 0, 9, 9), caption("A cat."), phrase(0, 0, 9, 9, text="a cat", span=(0, 5))]
    verdicts = listed.judge(statements([*rows, box(0, 0, 9, 9, label="")]))
    assert reasons(verdicts) == [""] * 4
    assert verdicts.is_judged.tolist() == [True, True, True, False]


def test_only_a_phrase_can_be_a_quotation_and_that_behind_its_mark(listed):
    rows = [
        caption('"Image" on a sign.', id="caption"),
        phrase(0, 0, 9, 9, text="Image", span=(1, 6)),
        box(0, 0, 9, 9, label="image", parent_id="caption"),
        box(0, 0, 9, 9, label="cat", parent_id="caption"),
    ]
    assert judged(listed, *rows) == ["", "", BLACKLISTED, ""]


def test_rows_that_are_dropped_already_are_not_judged(listed):
    assert judged(listed, box(0, 0, 9, 9, label="image"), dropped=[0]) == [""]


def test_other_entries_are_another_revision_and_comments_are_not(tmp_path):
    def revision(text: str) -> str:
        path = tmp_path / "list.txt"
        path.write_text(text, encoding="utf-8")
        return Blacklist(BlacklistConfig(path=str(path))).revision()

    assert revision("cat\ndog\n") == revision("# pets\ndog\ncat  # a comment\n")
    assert (
        len({revision(text) for text in ("cat\ndog\n", "cat\n", "* cat\ndog\n", "cat dog\n")}) == 4
    )


def test_the_default_list_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [phrase(0, 0, 9, 9, text=text, span=(0, 1)) for text in ("The image", "It", "freedom")]
    assert judged(Blacklist(BlacklistConfig()), *rows) == [BLACKLISTED] * 3


def test_a_list_of_a_project_is_used_only_where_the_option_names_it(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "blacklist.txt").write_text("cat\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    rows = [box(0, 0, 9, 9, label="cat"), box(0, 0, 9, 9, label="image")]
    own = BlacklistConfig(path="configs/blacklist.txt")
    assert judged(Blacklist(own), *rows) == [BLACKLISTED, ""]
    assert judged(Blacklist(BlacklistConfig()), *rows) == ["", BLACKLISTED]


def test_the_default_list_keeps_things_one_can_point_at():
    labels = ["cat", "group of people", "bell pepper", "two dogs", "stop sign", "person", "watch"]
    rows = [box(0, 0, 9, 9, label=label) for label in labels]
    assert judged(Blacklist(BlacklistConfig()), *rows) == [""] * len(labels)


def test_a_missing_list_is_a_config_error_that_names_the_option(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no word list .*nowhere\.txt"):
        Blacklist(BlacklistConfig(path=str(tmp_path / "nowhere.txt"))).revision()


def test_a_list_that_is_no_text_is_a_config_error(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot read the word list"):
        Blacklist(BlacklistConfig(path=str(path))).revision()
