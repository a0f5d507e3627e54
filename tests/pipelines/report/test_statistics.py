"""A dataset in the numbers of FLD-5B."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.report.paper import NOT_COMPARABLE, TABLE_2, TABLE_3
from florilegium.pipelines.report.statistics import measure, write_statistics
from tests.building import build
from tests.pipelines.report.dataset import Photo, box, caption, phrase, plain, publish

ANNOTATIONS = (
    caption("A cat, asleep."),  # five tokens
    caption("A long sentence about a cat.", id="long", task="more_detailed_caption"),
    phrase("A cat", (0, 5)),
    phrase("asleep", (7, 13)),
    phrase("a cat", (22, 27), parent_id="long"),
    phrase("weak", (0, 4), parent_id="long", score=0.1),
    box("named", label="cat"),
    box("other", label="dog"),
    box("weak", label="bird", score=0.1),
    box("category", task="region_category", label="dog", parent_id="other"),
    box("text", task="region_description", label="", text="a sleeping dog", parent_id="other"),
    box("lost", task="region_description", label="", text="x", score=0.1, parent_id="other"),
    box("told", task="region_description", label="", text="a cat on a sofa", parent_id="named"),
)


def statistics(output: Path, *shards: list[Photo]) -> dict[str, Any]:
    folder = Folder(str(output))
    write_statistics(folder, measure(folder, publish(folder, *shards)))
    return json.loads((output / "statistics.json").read_text())


def row(found: dict[str, Any], kind: str, text: str) -> dict[str, Any]:
    [one] = [each for each in found["table_2"] if (each["kind"], each["text"]) == (kind, text)]
    names = ("annotations", "tokens", "regions", "regions_per_annotation", "region_tokens")
    return {name: one[name] for name in names if one[name] is not None}


def photos(*keys: str, annotations: tuple[Annotation, ...] = ANNOTATIONS) -> list[Photo]:
    return [
        Photo(key=key, data=plain(), annotations=[own(one, key) for one in annotations])
        for key in keys
    ]


def own(annotations: Annotation, key: str) -> Annotation:
    """Return an annotation whose names are those of one image, as the engine gives them."""
    parent = annotations.parent_id and f"{key} {annotations.parent_id}"
    return replace(annotations, id=f"{key} {annotations.id}", parent_id=parent)


def test_all_eight_types_are_counted(tmp_path: Path) -> None:
    found = statistics(tmp_path, photos("a"))
    assert row(found, "text", "brief") == {"annotations": 1, "tokens": 5}
    assert row(found, "text", "detailed") == {"annotations": 0}
    assert row(found, "text", "more detailed") == {"annotations": 1, "tokens": 7}
    assert row(found, "region-text", "phrase") == {
        "annotations": 1, "regions": 2, "regions_per_annotation": 2, "region_tokens": 1,
    }  # fmt: skip
    assert row(found, "region-text", "brief") == {
        "annotations": 1, "regions": 2, "regions_per_annotation": 2, "region_tokens": 4,
    }  # fmt: skip
    assert row(found, "text-phrase-region", "brief") == {
        "annotations": 1, "tokens": 5, "regions": 2, "regions_per_annotation": 2,
        "region_tokens": 1.5,
    }  # fmt: skip
    assert row(found, "text-phrase-region", "detailed") == {"annotations": 0, "regions": 0}
    assert row(found, "text-phrase-region", "more detailed")["regions"] == 1


def test_captions_without_a_phrase_are_in_the_means_of_their_phrases(tmp_path: Path) -> None:
    alone = (caption("A dog."), caption("A dog sleeps.", id="more", task="more_detailed_caption"))
    found = statistics(tmp_path, photos("a"), photos("b", annotations=alone[:1]))
    assert row(found, "text-phrase-region", "brief") == {
        "annotations": 2, "tokens": 4, "regions": 2, "regions_per_annotation": 1,
        "region_tokens": 1.5,
    }  # fmt: skip
    ungrounded = statistics(tmp_path / "no", photos("b", annotations=alone))
    for length in ("brief", "more detailed"):
        assert row(ungrounded, "text-phrase-region", length) == {"annotations": 0, "regions": 0}


def test_lines_of_text_are_regions_with_a_text(tmp_path: Path) -> None:
    line = box("line", task="ocr", label="", text="WAY OUT")
    again = box("again", task="region_ocr", label="", text="WAY OUT", parent_id="box")
    found = statistics(tmp_path, photos("a", annotations=(box(), line, again)))
    assert row(found, "region-text", "phrase") == {
        "annotations": 1, "regions": 2, "regions_per_annotation": 2, "region_tokens": 1.5,
    }  # fmt: skip
    assert row(found, "region-text", "brief") == {
        "annotations": 1, "regions": 1, "regions_per_annotation": 1, "region_tokens": 2,
    }  # fmt: skip
    assert sum(found["figure_5"]["region-text"]["sqrt_area"]["kept"]) == 2


def test_means_that_cannot_be_compared_are_marked(tmp_path: Path) -> None:
    table = statistics(tmp_path, photos("a"))["table_3"]
    marked = {
        (name, length)
        for name, lengths in table.items()
        for length, means in lengths.items()
        if not means["comparable"]
    }
    assert marked == NOT_COMPARABLE
    assert 0 < len(marked) < 18


def test_dropped_annotations_are_not_counted(tmp_path: Path) -> None:
    found = statistics(tmp_path, photos("a", annotations=(box("weak", score=0.1),)))
    assert row(found, "region-text", "phrase") == {"annotations": 0, "regions": 0}


def test_the_boxes_and_the_proposals_of_a_detector_are_one_region_each(tmp_path: Path) -> None:
    """Their texts, too."""
    here, there = (8.0, 6.0, 40.0, 30.0), (41.0, 6.0, 60.0, 30.0)
    proposal = {"task": "region_proposal", "label": ""}
    described = {"task": "region_description", "label": "", "text": "a cat"}
    annotations = (
        box("named", box_xyxy=here),
        box("again", box_xyxy=here, **proposal),
        box("vocabulary", box_xyxy=here, task="open_vocabulary_detection"),
        box("far", box_xyxy=there, **proposal),
        box("told", parent_id="named", **described),
        box("told again", parent_id="again", **described),
        box("told far", parent_id="far", box_xyxy=there, **described),
    )
    found = statistics(tmp_path, photos("a", "b", annotations=annotations))
    assert row(found, "region-text", "phrase")["regions"] == 2
    assert row(found, "region-text", "brief")["regions"] == 4
    sizes = found["figure_5"]["region-text"]["sqrt_area"]["kept"]
    assert sum(sizes) == 4


def test_the_only_text_of_a_place_counts_whichever_box_it_was_made_from(tmp_path: Path) -> None:
    worded = box("told", task="region_description", label="", text="a cat", parent_id="again")
    annotations = (box("named"), box("again", task="region_proposal", label=""), worded)
    found = statistics(tmp_path, photos("a", annotations=annotations))
    assert row(found, "region-text", "phrase")["regions"] == 1
    assert row(found, "region-text", "brief")["regions"] == 1


def test_a_kept_region_is_counted_beside_a_dropped_one_of_its_place(tmp_path: Path) -> None:
    annotations = (
        box("named", score=0.1),
        box("kept", task="open_vocabulary_detection", score=0.9),
    )
    found = statistics(tmp_path, photos("a", annotations=annotations))
    assert row(found, "region-text", "phrase")["regions"] == 1


def test_shards_add_up(tmp_path: Path) -> None:
    once = statistics(tmp_path / "one", photos("a", "b", "c"))
    cut = statistics(tmp_path / "cut", photos("a"), photos("b", "c"))
    assert once["table_2"] == cut["table_2"]
    assert once["figure_5"] == cut["figure_5"]
    assert (once["shards"], cut["measured_shards"]) == (1, 2)


def test_the_figures_of_the_paper_are_shown_beside(tmp_path: Path) -> None:
    found = statistics(tmp_path, photos("a"))
    for one in found["table_2"]:
        paper = TABLE_2[one["kind"], one["text"]]
        assert one["paper"]["annotations"] == paper.annotations
        if paper.regions and paper.regions_per_annotation:
            each = paper.regions / paper.annotations
            assert each == pytest.approx(paper.regions_per_annotation, rel=0.01)
    assert set(found["table_3"]) == set(TABLE_3)


def test_plots_are_counts_in_bins(tmp_path: Path) -> None:
    figure = statistics(tmp_path, photos("a"))["figure_5"]
    for kind, count in (("region-text", 2), ("text-phrase-region", 3)):
        for name in ("sqrt_area", "log2_aspect"):
            assert sum(figure[kind][name]["kept"]) == count
            assert len(figure[kind][name]["edges"]) == len(figure[kind][name]["kept"]) + 1
        assert sum(map(sum, figure[kind]["centres"])) == count


def test_captions_are_measured_as_the_text_filter_did(album: Path, tmp_path: Path) -> None:
    from florilegium.engine.results.dataset import open_dataset
    from florilegium.pipelines.filters.caption_measures import count_grammar
    from florilegium.specialists.words.english import load_english

    build(
        album, tmp_path,
        specialists={"imagenet_cam": {}, "template_caption": {}},
        filters={"text_filter": {}},
    )  # fmt: skip
    found = json.loads((tmp_path / "statistics.json").read_text())["table_3"]
    texts = [
        one.text
        for sample in open_dataset(str(tmp_path))
        for one in sample.annotations
        if one.task == "caption"
    ]
    grammar = [count_grammar(document) for document in load_english().pipe(texts)]
    for name in TABLE_3:
        mean = sum(one[name] for one in grammar) / len(grammar)
        assert found[name]["brief"]["here"] == pytest.approx(mean, abs=0.006)
