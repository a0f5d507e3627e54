from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import SOURCE, Annotation, Provenance, stamp
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.config import validated
from florilegium.pipelines.filters.region_score import LOW_SCORE, RegionScore, RegionScoreConfig
from florilegium.pipelines.filters.superseded import MERGED, OUTVOTED, Superseded, SupersededConfig
from florilegium.specialists.similarity.region_label import RegionLabel, RegionLabelConfig
from tests.checkpoints.image_text import write_clip, write_naflex, write_siglip
from tests.pipelines.filters.statements import reasons, statements

FAMILIES = {"clip": write_clip, "siglip": write_siglip, "siglip2": write_naflex}
BOX = (20.0, 10.0, 70.0, 60.0)
WINDOW = (15, 5, 75, 65)
"""The box with a margin of a tenth of its sides."""

Labelling = Callable[..., RegionLabel]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in FAMILIES.items()}


@pytest.fixture(scope="module")
def labelling(checkpoints: dict[str, Path]) -> Labelling:
    def load(family: str = "siglip", **options: Any) -> RegionLabel:
        specialist = RegionLabel(RegionLabelConfig(model=str(checkpoints[family]), **options))
        specialist.load()
        return specialist

    return load


def region(task: str, **rest: Any) -> Annotation:
    given: dict[str, Any] = {"kind": "region", "task": task, "box_xyxy": BOX, **rest}
    return Annotation(**given)


def with_words(sample: Sample, box: Annotation, caption: str = "", *chunks: str) -> Sample:
    """Return a sample with a box, a caption of its crop and the noun chunks of it."""
    predicted = [replace(box, id="box")]
    if caption:
        predicted.append(region("region_description", text=caption, parent_id="box"))
    predicted += [region("region_description", text=chunk, parent_id="box") for chunk in chunks]
    stamped = stamp(predicted, Provenance(stage="earlier", specialist="region_text"), sample.key)
    return replace(sample, annotations=(*sample.annotations, *stamped))


CAT = region("object_detection", label="cat", score=0.8)
CAPTION = "a small cat on a red blanket"
CHUNKS = ("small cat", "red blanket")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_the_candidate_that_the_zero_shot_pipeline_puts_first(
    family: str, labelling: Labelling, checkpoints: dict[str, Path], odd_images: list[Sample]
) -> None:
    from transformers import pipeline

    pipe = pipeline("zero-shot-image-classification", model=str(checkpoints[family]), device="cpu")
    specialist = labelling(family)
    samples = [with_words(sample, CAT, CAPTION, *CHUNKS) for sample in odd_images]
    together = specialist.predict(samples)
    for sample, (predicted, _) in zip(samples, together, strict=True):
        ((alone, _),) = specialist.predict([sample])
        assert replace(predicted, score=0) == replace(alone, score=0)
        assert predicted.score == pytest.approx(alone.score, abs=1e-6)
        crop = Image.fromarray(sample.image).crop(WINDOW[:2] + _within(WINDOW[2:], sample))
        best, *_ = pipe(crop, candidate_labels=["cat", CAPTION, *CHUNKS], hypothesis_template="{}")
        assert predicted.text == best["label"]
        if family != "clip":  # the score of CLIP is the cosine, that of the pipeline relative
            assert predicted.score == pytest.approx(best["score"], abs=1e-5)


def _within(corner: tuple[int, int], sample: Sample) -> tuple[int, int]:
    return min(corner[0], sample.width), min(corner[1], sample.height)


def scores(specialist: RegionLabel, sample: Sample) -> dict[str, float | None]:
    """The score of each candidate, asked as if it were the only one."""
    found = {}
    for text in ("cat", CAPTION, *CHUNKS):
        (predicted,) = specialist.predict([with_words(sample, replace(CAT, label=text))])
        found[text] = predicted[0].score
    return found


def test_each_kind_of_candidate_can_win_and_is_named(labelling, odd_images) -> None:
    """The same crop with fewer and fewer candidates: whatever is left, the best of it wins."""
    specialist, sample = labelling(), odd_images[-1]
    by_score = scores(specialist, sample)
    ranked = sorted(by_score, key=lambda text: -(by_score[text] or 0))
    winners = set()
    while ranked:
        label = "cat" if "cat" in ranked else ""
        caption = CAPTION if CAPTION in ranked else ""
        chunks = [chunk for chunk in CHUNKS if chunk in ranked]
        read = with_words(sample, replace(CAT, label=label), caption, *chunks)
        ((predicted, *_),) = specialist.predict([read])
        assert predicted.text == ranked[0]
        assert predicted.score == pytest.approx(by_score[predicted.text], abs=1e-6)
        ids = {one.name: one.id for one in read.annotations}
        assert predicted.merged_from == (ids[predicted.text],)
        winners.add(ranked.pop(0))
    assert winners == {"cat", CAPTION, *CHUNKS}


def test_a_box_gets_its_chosen_text_and_its_category(labelling, odd_images) -> None:
    """The phrase is the category, also where another text fits the crop better."""
    specialist, sample = labelling(), odd_images[-1]
    by_score = scores(specialist, sample)
    best, *others, worst = sorted(by_score, key=lambda text: -(by_score[text] or 0))
    read = with_words(sample, replace(CAT, label=f" {worst}. "), best, *others)
    ((described, named),) = specialist.predict([read])
    box = read.annotations[0]
    assert (described.task, described.text, described.label) == ("region_description", best, "")
    assert (named.task, named.text, named.label) == ("region_category", "", worst)
    for one, text in ((described, best), (named, worst)):
        assert (one.kind, one.box_xyxy, one.parent_id) == ("region", box.box_xyxy, box.id)
        assert one.score == pytest.approx(by_score[text], abs=1e-6)
    assert named.merged_from == ()


def test_descriptions_of_the_source_come_before_what_fits_better(labelling, odd_images) -> None:
    specialist, sample = labelling(), odd_images[-1]
    by_score = scores(specialist, sample)
    *better, last = sorted((CAPTION, *CHUNKS), key=lambda text: -(by_score[text] or 0))
    read = with_words(sample, replace(CAT, label="cat", specialist="source"), *better, last)
    *others, given = read.annotations
    read = replace(read, annotations=(*others, replace(given, specialist="source")))
    ((described, named),) = specialist.predict([read])
    assert (described.text, described.merged_from) == (last, (given.id,))
    assert named.label == "cat"
    other = replace(given, task="region_category", text="", label=last, specialist="source")
    ((described, _),) = specialist.predict([replace(read, annotations=(*others, other))])
    assert described.text != last, "a name is no description"


def test_a_box_without_a_label_gets_a_text_and_no_category(labelling, odd_images) -> None:
    for task, words in (("region_proposal", {}), ("dense_region_caption", {"text": "a cat"})):
        sample = with_words(odd_images[0], region(task, **words), CAPTION)
        (found,) = labelling(tasks=(task,)).predict([sample])
        assert [one.task for one in found] == ["region_description"]


def of_source(sample: Sample, *rows: int) -> Sample:
    """Return a sample of whose annotations some are labels of the source."""
    labels = [
        replace(one, specialist=SOURCE) if row in rows else one
        for row, one in enumerate(sample.annotations)
    ]
    return replace(sample, annotations=tuple(labels))


def test_texts_of_the_source_get_no_score_and_its_descriptions_are_not_overruled(
    labelling, odd_images
) -> None:
    sample = odd_images[-1]
    by_score = scores(labelling(), sample)
    best, *others, worst = sorted(by_score, key=lambda text: -(by_score[text] or 0))
    candidates = with_words(sample, replace(CAT, label=worst), best, *others)
    ((described, named),) = labelling().predict([of_source(candidates, 0)])
    assert (described.text, named.label, named.score) == (best, worst, None)
    assert described.score == pytest.approx(by_score[best], abs=1e-6)
    given = of_source(candidates, 0, len(candidates.annotations) - 1)
    ((described, named),) = labelling().predict([given])
    assert (described.text, described.score, named.label) == (others[-1], None, worst)
    assert described.merged_from == (given.annotations[-1].id,)
    ((described, named),) = labelling(source_first=False).predict([given])
    assert (described.text, named.label) == (best, worst)
    assert named.score == pytest.approx(by_score[worst], abs=1e-6)


def test_of_several_descriptions_of_the_source_the_best_is_chosen(labelling, odd_images) -> None:
    sample = odd_images[-1]
    by_score = scores(labelling(), sample)
    best, second, *_, worst = sorted(by_score, key=lambda text: -(by_score[text] or 0))
    third = next(text for text in by_score if text not in (best, second, worst))
    words = with_words(sample, replace(CAT, label=worst), best, third, second)
    read = of_source(words, 0, 2, 3)
    ((described, named),) = labelling().predict([read])
    assert (described.text, named.label) == (second, worst)


def test_of_the_boxes_of_one_place_the_one_with_a_name_gets_texts(labelling, photograph) -> None:
    again = region("region_proposal", score=0.9)
    sample = photograph("cat", again, CAT)
    (predicted,) = labelling().predict([sample])
    assert {one.parent_id for one in predicted} == {sample.annotations[1].id}
    assert [one.id for one in labelling().chosen(sample)] == [sample.annotations[1].id]


def test_words_that_differ_in_case_or_a_full_stop_are_one_candidate(
    labelling: Labelling, odd_images: list[Sample]
) -> None:
    sample = with_words(odd_images[0], CAT, " Cat.", "CAT")
    ((predicted, _),) = labelling().predict([sample])
    assert predicted.text == "cat"
    assert predicted.merged_from == tuple(one.id for one in sample.annotations)


def test_a_description_is_its_text_and_a_category_its_label(labelling, odd_images) -> None:
    """A description may bear the label of its box too."""
    box = region("region_proposal", id="box")
    described = region("region_description", label="cat", text="on a mat", parent_id="box")
    named = region("region_category", label="cat", text="not this", parent_id="box")
    for predicted, wanted in ((described, "on a mat"), (named, "cat")):
        sample = replace(odd_images[0], annotations=(box, predicted))
        assert [one.text for one in labelling().predict([sample])[0]] == [wanted]


def test_each_box_has_its_own_candidates(labelling: Labelling, photograph) -> None:
    one = region("object_detection", label="cat", box_xyxy=(0, 0, 200, 150), id="one")
    other = region("region_proposal", box_xyxy=(200, 100, 400, 300), id="other")
    chunk = region("region_description", text="ear", box_xyxy=other.box_xyxy, parent_id="other")
    sample = photograph("cat", one, other, chunk)
    (predicted,) = labelling().predict([sample])
    assert [each.words for each in predicted] == ["cat", "cat", "ear"]
    assert [each.parent_id for each in predicted] == [sample.annotations[n].id for n in (0, 0, 1)]


def test_a_box_without_words_or_with_too_few_pixels_gets_no_label(labelling, photograph) -> None:
    small = region("object_detection", label="cat", box_xyxy=(5, 5, 25, 20.9))
    outside = region("object_detection", label="cat", box_xyxy=(-90, 0, 15, 90))
    nameless, placeless = region("region_proposal"), replace(CAT, box_xyxy=())
    sample = photograph("cat", small, outside, nameless, placeless)
    assert labelling().predict([sample]) == [[]]
    assert len(labelling(least_side=15).predict([sample])[0]) == 2 * len(("small", "outside"))


def test_only_boxes_of_the_wanted_tasks_are_labelled(labelling: Labelling, photograph) -> None:
    boxes = [replace(CAT, task=task) for task in ("object_detection", "open_vocabulary_detection")]
    sample = photograph("cat", *boxes)
    specialist = labelling(tasks=("open_vocabulary_detection",))
    assert str(specialist.reads[0]) == "open_vocabulary_detection"
    found = specialist.predict([sample])[0]
    assert {one.parent_id for one in found} == {sample.annotations[1].id}


def test_the_margin_changes_what_is_seen(labelling: Labelling, photograph) -> None:
    sample = photograph("cat", replace(CAT, box_xyxy=(100, 100, 200, 200)))
    (tight, wide), _ = zip(
        *(labelling(margin=margin).predict([sample])[0] for margin in (0.0, 1.0)), strict=True
    )
    assert tight.score != wide.score


def judged(read: Sample, predicted: list[Annotation]) -> list[Annotation]:
    stamped = stamp(predicted, Provenance(stage="label", specialist="region_label"), read.key)
    return [*read.annotations, *stamped]


@pytest.mark.parametrize("family", FAMILIES)
def test_of_the_candidates_only_the_chosen_text_is_published(labelling, odd_images, family) -> None:
    """The chosen candidate is merged, others are outvoted, the caption of the crop too."""
    sample = with_words(odd_images[0], CAT, CAPTION, *CHUNKS)
    (found,) = labelling(family).predict([sample])
    superseded = Superseded(SupersededConfig(by={"region_label": ("region_description",)}))
    lost = [MERGED if text == found[0].text else OUTVOTED for text in (CAPTION, *CHUNKS)]
    assert reasons(superseded.judge(statements(judged(sample, found)))) == ["", *lost, "", ""]


def test_region_score_judges_the_similarity(labelling, odd_images) -> None:
    sample = with_words(odd_images[0], CAT)
    (predicted,) = labelling().predict([sample])
    predicted = predicted[:1]
    for least, reason in ((predicted[0].score + 0.01, LOW_SCORE), (predicted[0].score - 0.01, "")):
        config = RegionScoreConfig(specialists={"region_label": least})
        rows = statements(judged(sample, predicted), image_wh=(sample.width, sample.height))
        assert reasons(RegionScore(config).judge(rows)) == ["", reason]


def test_awkward_images_and_half_precision(labelling: Labelling, awkward: list[Sample]) -> None:
    samples = [
        with_words(one, replace(CAT, box_xyxy=(0.0, 0.0, float(one.width), float(one.height))))
        for one in awkward
    ]
    for family in FAMILIES:
        predicted = labelling(family, least_side=1, dtype="bfloat16").predict(samples)
        assert [len(each) for each in predicted] == [2] * 4
        assert np.isfinite([each[0].score for each in predicted]).all()


def test_an_image_without_boxes_is_not_decoded(labelling: Labelling, drawing) -> None:
    sample = drawing(np.zeros((4, 4, 3), np.uint8))
    assert labelling().predict([sample]) == [[]]
    assert sample.picture._pixels is None


@pytest.mark.parametrize("task", ["region_category", "objekt_detection", "caption"])
def test_tasks_without_boxes_are_refused(task: str) -> None:
    with pytest.raises(ConfigError, match="has no boxes"):
        validated(RegionLabelConfig, {"tasks": [task]}, where="specialists.region_label")


def test_a_box_whose_label_has_no_words_gets_no_category(labelling, odd_images) -> None:
    sample = with_words(odd_images[0], replace(CAT, label=" . "), "a cat")
    ((only,),) = labelling().predict([sample])
    assert (only.task, only.text) == ("region_description", "a cat")
