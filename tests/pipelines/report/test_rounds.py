"""The rounds of a refined run on the page."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import LINEAGE, REPORT
from florilegium.pipelines.dataset.lineage import round_folder, write_lineage
from florilegium.pipelines.report.page import write_report
from florilegium.pipelines.report.quality import draw_quality
from florilegium.pipelines.report.rounds import read_rounds
from tests.pipelines.refine.rounds import Labels, box, entry, refined, text
from tests.pipelines.report.dataset import Page, finished

NASTY = "</svg><script>alert(1)</script>"
SQUARE = box("square", 6, 8, 26, 28)
BEFORE: Labels = {"a": [SQUARE, box("star", 0, 44, 16, 60), text("A square.")], "b": [SQUARE]}
AFTER: Labels = {
    "a": [SQUARE, box("disc", 34, 30, 58, 54), text(NASTY)],
    "b": [box("diamond", 6, 8, 26, 28)],
}


def written(output: Folder) -> str:
    write_report(output, finished(output))
    return (output.read(REPORT) or b"").decode()


def squeezed(text: str) -> str:
    return " ".join(text.split())


def rows(table: str, html: str) -> list[list[str]]:
    """Return the cells of a table, row by row."""
    (found,) = re.findall(rf'<table class="{table}">.*?</table>', html, re.DOTALL)
    pages = [Page(row) for row in found.split("<tr")[1:]]
    return [
        [squeezed(one.content) for one in page.elements if one.tag in ("th", "td")]
        for page in pages
    ]


def test_a_dataset_without_rounds_has_no_section_about_them(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER, is_finished=True)
    with_rounds = written(output)
    output.remove(LINEAGE)
    built = written(output)
    assert with_rounds != built
    assert "ounds" not in built.partition("<body>")[0] + built.partition("<main>")[2]
    section = re.search(r'<section id="rounds">.*?</section>\n\n?', with_rounds, re.DOTALL)
    assert section
    outside = with_rounds.replace(section[0], "").replace('<a href="#rounds">Rounds</a>', "")
    assert outside.partition("<body>")[2].split() == built.partition("<body>")[2].split()


def test_rounds_are_listed_with_students_and_reasons(tmp_path: Path) -> None:
    lineage = [entry(0), entry(1, is_promoted=False, quality={"boxes": 0.25})]
    output = refined(tmp_path, BEFORE, AFTER, lineage=lineage)
    heads, first, second = rows("lineage", written(output))
    assert heads[:4] == ["round", "from", "students", "measured by"]
    assert heads[4:] == ["boxes", "captions", "mean", "promoted"]
    assert first == ["0", "", "none", "truth", "0.700", "0.500", "0.600", "yes: reason 0"]
    students = "01010101 11111111"
    assert second == ["1", "0", students, "truth", "0.250", "", "0.250", "no: reason 1"]


def test_a_kind_that_was_not_measured_has_a_dash_and_no_dot(tmp_path: Path) -> None:
    lineage = [
        entry(0, quality={"boxes": 0.7, "captions": None, "ocr": None}),
        entry(1, quality={"boxes": 0.8, "captions": 0.5, "ocr": None}),
    ]
    html = written(refined(tmp_path, BEFORE, AFTER, lineage=lineage))
    heads, first, second = rows("lineage", html)
    assert heads[4:] == ["boxes", "captions", "ocr", "mean", "promoted"]
    assert first[4:8] == ["0.700", "-", "-", "0.700"]
    assert second[4:8] == ["0.800", "0.500", "-", "0.650"]
    lines = {line.name: line for line in draw_quality(lineage, lineage[1]).lines}
    assert list(lines) == ["boxes", "captions", "mean"]
    assert [dot.tip for dot in lines["captions"].dots] == ["captions 0.500, round 1"]
    assert (lines["captions"].steps, lines["captions"].dead_ends) == ("", "")


def test_unaudited_voters_have_a_dash(tmp_path: Path) -> None:
    nothing = {"right": 0, "audited": 0, "share": None, "low": None, "high": None}
    found = {"right": 8, "audited": 10, "share": 0.8, "low": 0.49, "high": 0.943}
    tasks = {
        "object_detection": {
            "voters": {"one": {"precision": found}},
            "precision": found,
            "ece": 0.1,
        },
        "ocr": {"voters": {"one": {"precision": nothing}}, "precision": nothing, "ece": None},
    }
    merges = {"boxes": {"rule": "calibrated_fusion", "tasks": tasks}}
    output = refined(tmp_path, BEFORE, lineage=[entry(0, merges=merges)])
    _, merged, voter, unread, mute = rows("lineage worth", written(output))
    assert merged == [
        "boxes",
        "object detection",
        "merged",
        "10",
        "0.800",
        "0.490 to 0.943",
        "0.100",
    ]
    assert voter[2:] == ["one", "10", "0.800", "0.490 to 0.943", ""]
    assert unread == ["boxes", "ocr", "merged", "0", "-", "-", "-"]
    assert mute[2:] == ["one", "0", "-", "-", ""]


def test_without_an_audit_there_is_no_table_of_precisions(tmp_path: Path) -> None:
    nothing = {"right": 0, "audited": 0, "share": None, "low": None, "high": None}
    tasks = {"ocr": {"voters": {}, "precision": nothing, "ece": None}}
    merges = {"boxes": {"rule": "calibrated_fusion", "tasks": tasks}}
    output = refined(tmp_path, BEFORE, lineage=[entry(0, merges=merges)])
    assert "Audited precision" not in written(output)


def test_the_last_promoted_round_is_marked_and_compared(tmp_path: Path) -> None:
    lineage = [entry(0), entry(1), entry(2, is_promoted=False)]
    output = refined(tmp_path, BEFORE, AFTER, BEFORE, lineage=lineage)
    html = written(output)
    (row,) = Page(html).find("tr", "here")
    assert row.content.startswith("1")
    assert rows("diff", html) == [
        ["task", "round 0", "round 1", "the same", "added", "changed", "dropped"],
        ["caption", "1", "1", "0", "0", "1", "0"],
        ["object detection", "3", "3", "1", "1", "1", "1"],
        ["all", "4", "4", "1", "1", "2", "1"],
    ]


def test_changed_annotations_are_drawn_before_and_after(tmp_path: Path) -> None:
    page = Page(written(refined(tmp_path, BEFORE, AFTER)))
    assert [one.content for one in page.find("h4") if "changed-" in one.attributes.get("id", "")]
    panels = [one.attributes["aria-label"] for one in page.find("svg", "panel")]
    assert panels == [
        "a in round 0: 1 dropped, 1 same",
        "a in round 1: 1 added, 1 same",
        "b in round 0: 1 changed",
        "b in round 1: 1 changed",
    ]
    (added,) = page.find("path", "box", "added")
    assert added.attributes["d"] == "M212 188H362V338H212Z"
    names = [squeezed(one.content) for one in page.find("g", "name-of")]
    assert names == ["star", "disc", "square", "diamond"]
    items = [squeezed(one.content) for one in page.find("li") if one.classes != ["kept"]]
    assert items[:3] == [
        f"changed, caption A square. {NASTY}",
        "added, object detection disc",
        "dropped, object detection star",
    ]


def test_labels_of_refined_runs_never_become_markup_and_nothing_is_fetched(tmp_path: Path) -> None:
    nasty: dict[str, list[Annotation]] = {"a": [box(NASTY, 6, 8, 26, 28)]}
    html = written(refined(tmp_path, BEFORE, nasty, lineage=[entry(0), entry(1, reason=NASTY)]))
    page = Page(html)
    assert len(page.find("script")) == 1
    images = [*page.find("image"), *page.find("use")]
    assert len(images) == 4
    for one in images:
        assert one.attributes["href"].startswith(("#photo-", "data:image/jpeg;base64,"))
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {"#hatch"}


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = [written(refined(tmp_path / name, BEFORE, AFTER)) for name in ("here", "there")]
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]


def test_rounds_whose_datasets_are_gone_are_still_listed(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER)
    shutil.rmtree(round_folder(output, 0).url)
    page = Page(written(output))
    assert len(page.find("table", "lineage")) == 1
    assert not page.find("table", "diff")
    [rounds] = [one for one in page.find("section") if one.attributes["id"] == "rounds"]
    assert "were deleted" in rounds.content


def test_a_run_without_a_better_round_shows_a_note(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER, lineage=[entry(0), entry(1, is_promoted=False)])
    (section,) = [
        one for one in Page(written(output)).find("section") if one.attributes.get("id") == "rounds"
    ]
    assert "No later round was better than the first" in section.content


def test_rounds_without_a_promoted_one_are_not_shown(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    write_lineage(output, [entry(0, is_promoted=False)])
    assert read_rounds(output) is None


def test_lines_connect_a_round_with_its_children() -> None:
    rounds = [entry(0), entry(1), entry(2, is_promoted=False), entry(3, parent=1)]
    figure = draw_quality(rounds, rounds[-1])
    boxes, _, mean = figure.lines
    assert [line.name for line in figure.lines] == ["boxes", "captions", "mean"]
    x = [dot.x for dot in boxes.dots]
    assert x == sorted(x)
    starts = [float(start) for start in re.findall(r"M([\d.]+) ", boxes.steps)]
    assert starts == [x[0], x[1]]
    assert boxes.dead_ends.startswith(f"M{x[1]:g} ")
    assert [dot.is_promoted for dot in mean.dots] == [True, True, False, True]
    assert figure.promoted_x == x[3]
    y = [dot.y for dot in boxes.dots]
    assert y == sorted(y, reverse=True)


def test_names_of_lines_do_not_overlap() -> None:
    kinds = ("boxes", "captions", "masks", "ocr", "phrases")
    for quality in (0.0, 0.5, 1.0):
        one = entry(0, quality=dict.fromkeys(kinds, quality))
        figure = draw_quality([one], one)
        y = sorted(line.name_y for line in figure.lines)
        assert all(after - before >= 15 for before, after in pairwise(y))
        assert 0 <= y[0] <= y[-1] <= 208


def test_an_unmeasured_round_is_drawn() -> None:
    one = entry(0, quality={})
    assert [line.name for line in draw_quality([one], one).lines] == ["mean"]
