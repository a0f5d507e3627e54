"""The numbers behind the plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.results.manifest import Totals
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.report import figures, summary
from florilegium.pipelines.report.distributions import (
    PHRASE_REGION,
    REGION_TEXT,
    Boxes,
    Distributions,
    quantile,
)
from florilegium.pipelines.report.statistics import measure, spread
from tests.pipelines.report.dataset import Photo, box, caption, phrase, plain, publish


def measured(output: Folder, *shards: list[Photo]) -> Distributions:
    return measure(output, publish(output, *shards)).distributions


def boxes(output: Folder, *shards: list[Photo]) -> Boxes:
    return measured(output, *shards).boxes[REGION_TEXT]


def test_box_size_is_the_root_of_the_share_of_the_image(tmp_path: Path) -> None:
    # A quarter of a 64 x 48 image, twice; once it is dropped.
    quarter = (0.0, 0.0, 32.0, 24.0)
    annotations = (box("a", box_xyxy=quarter), box("b", box_xyxy=quarter, score=0.1))
    found = boxes(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    assert np.flatnonzero(found.side[0]).tolist() == [20]
    assert found.side.sum(axis=1).tolist() == [1, 1]
    assert np.argwhere(found.centres).tolist() == [[6, 6]]
    assert figures.side_histogram(found).summary == "median 51% of the side"


def test_box_aspect_is_width_over_height(tmp_path: Path) -> None:
    annotations = (box("wide", box_xyxy=(0, 0, 40, 10)), box("tall", box_xyxy=(0, 0, 10, 40)))
    found = boxes(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    assert np.flatnonzero(found.aspect[0]).tolist() == [12, 36]


def test_a_box_beyond_the_image_is_clipped(tmp_path: Path) -> None:
    annotations = (box("half", box_xyxy=(32, 0, 500, 48)), box("gone", box_xyxy=(70, 0, 90, 48)))
    found = boxes(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    assert found.side.sum() == 1
    assert np.flatnonzero(found.side[0]).tolist() == [28]


def test_a_mask_does_not_count_its_box_again(tmp_path: Path) -> None:
    mask = box("mask", task="segmentation", mask_rle=MaskRLE((48, 64), ""), parent_id="box")
    found = boxes(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=(box(), mask))])
    assert found.side.sum() == 1


def test_boxes_of_phrases_are_counted_separately(tmp_path: Path) -> None:
    annotations = (box(), caption("A cup."), phrase("A cup", (0, 5)))
    found = measured(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    assert [found.boxes[kind].side.sum() for kind in (REGION_TEXT, PHRASE_REGION)] == [1, 1]


def test_caption_words_are_counted_by_task_and_verdict(tmp_path: Path) -> None:
    annotations = (
        caption("Three words here."),
        caption("Three weak words.", id="weak", score=0.1),
        caption(" ".join(["word"] * 999), id="long", task="more_detailed_caption"),
        phrase("Three", (0, 5)),
    )
    found = measured(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    assert np.argwhere(found.words["caption"]).tolist() == [[0, 1], [1, 1]]
    assert np.argwhere(found.words["more_detailed_caption"]).tolist() == [[0, 79]]
    assert found.words["detailed_caption"].sum() == 0
    charts = figures.caption_histograms(found)
    assert [chart.title for chart in charts] == ["Caption", "More detailed caption"]
    assert charts[0].ticks[-1].text == "160+"


def test_shards_add_up_whatever_their_number(tmp_path: Path) -> None:
    photos = [Photo(key=key, data=plain(), annotations=(box(), caption())) for key in "abcd"]
    one = measured(Folder(str(tmp_path / "one")), photos)
    two = measured(Folder(str(tmp_path / "two")), photos[:1], photos[1:])
    sides = [each.boxes[REGION_TEXT].side for each in (one, two)]
    assert sides[0].sum() == 4
    assert (sides[0] == sides[1]).all()
    assert (one.words["caption"] == two.words["caption"]).all()


def test_dropped_bins_are_stacked_on_kept_ones(tmp_path: Path) -> None:
    annotations = (box("a"), box("b"), box("weak", score=0.1))
    found = boxes(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    chart = figures.aspect_histogram(found)
    full, share = chart.height, round(chart.height / 3, 1)
    assert chart.kept.count("M") == chart.dropped.count("M") == 1
    assert chart.kept.split()[1].startswith(f"{full}V{share:g}")
    assert chart.dropped.split()[1].startswith(f"{share:g}V0")


@pytest.mark.parametrize(("count", "among"), [(24, 7), (24, 24), (24, 25), (24, 10_000)])
def test_numbers_are_spread_evenly_without_repeats(count: int, among: int) -> None:
    numbers = spread(count, among)
    assert len(set(numbers)) == min(count, among)
    assert all(0 <= number < among for number in numbers)
    assert numbers == sorted(numbers)
    gaps = np.diff([-1, *numbers, among])
    assert gaps.max() - np.median(gaps) <= 1


def test_a_quantile_of_an_empty_histogram_is_none() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    assert quantile([0, 0], edges, 0.5) is None
    assert quantile([1, 3], edges, 0.5) == 1.5


def test_bar_lengths_are_shares_of_the_longest() -> None:
    rows = summary.bars({"a": {"kept": 1, "dropped": 1}, "b": {"kept": 3, "dropped": 1}})
    assert [(row.name, row.kept_length, row.dropped_length) for row in rows] == [
        ("b", 75.0, 25.0),
        ("a", 25.0, 25.0),
    ]


def test_the_last_row_of_the_funnel_is_the_number_kept(tmp_path: Path) -> None:
    annotations = (box(), box("weak", score=0.1), box("child", parent_id="weak"), caption())
    totals = Totals.of(
        publish(Folder(str(tmp_path)), [Photo(key="a", data=plain(), annotations=annotations)])
    )
    last = summary.funnel(totals, ["unheard"])[-1]
    assert last.filter == "lineage"
    assert last.left == totals.annotations_kept == 2
