from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import one_of
from florilegium.engine.core.validity import problem_of
from florilegium.specialists.detection.open_vocabulary import OpenVocabulary, OpenVocabularyConfig
from florilegium.specialists.pretrained.network import TOO_THIN
from tests.checkpoints import written_once
from tests.checkpoints.open_vocabulary import SIDE, WRITERS

SampleOf = Callable[..., Sample]
Written = Callable[[str], Path]
FAMILIES = sorted(WRITERS)
OWLS = ("owlv2", "owlvit")
DINOS = ("grounding-dino", "mm-grounding-dino")
NAMES = ("cat", "red cup", "rocket")
NOUNS = ("cat", "man")
LEAST = 0.15


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny detector of a family, once."""
    return written_once(lambda name, folder: WRITERS[name](folder), tmp_path_factory)


def stage(folder: Path, **options: Any) -> OpenVocabulary:
    given = {"model": str(folder), "classes": NAMES, "least_score": LEAST, **options}
    detector = OpenVocabulary(OpenVocabularyConfig(**given))
    detector.load()
    return detector


def caption(text: str, task: str = "caption", **more: Any) -> Annotation:
    return Annotation(kind="text", task=task, text=text, **more)


def with_words(sample: Sample, *annotations: Annotation) -> Sample:
    named = (replace(one, id=f"said-{number}") for number, one in enumerate(annotations))
    return replace(sample, annotations=tuple(named))


def in_image(boxes_xyxy: np.ndarray, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes clipped to the image, and which of them have an area."""
    clipped = boxes_xyxy.clip(0, (sample.width, sample.height, sample.width, sample.height))
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(axis=1)


def post_processed(
    name: str, folder: Path, samples: Sequence[Sample]
) -> Iterator[list[tuple[str | None, float, Any]]]:
    """Yield what model, processor and post-processing of `transformers` say, image by image."""
    from transformers import AutoModelForZeroShotObjectDetection

    processor = processor_of(name, folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    options: dict[str, Any] = {"nms_threshold": 1.0} if name == "omdet-turbo" else {}
    if name not in DINOS:
        options["text_labels"] = [list(NAMES)]
    for sample in samples:
        image = Image.fromarray(sample.image)
        with torch.inference_mode():
            predicted = model(**processor(images=image, text=[list(NAMES)], return_tensors="pt"))
        (found,) = processor.post_process_grounded_object_detection(
            predicted, threshold=LEAST, target_sizes=[(sample.height, sample.width)], **options
        )
        boxes, has_area = in_image(found["boxes"].numpy(), sample)
        labels = [None] * len(boxes) if name in DINOS else found["text_labels"]
        rows = zip(labels, found["scores"].tolist(), boxes.tolist(), strict=True)
        yield [row for row, is_there in zip(rows, has_area, strict=True) if is_there]


def processor_of(name: str, folder: Path) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if name != "omdet-turbo":
        return AutoProcessor.from_pretrained(folder)
    module = import_module("transformers.models.omdet_turbo.processing_omdet_turbo")
    # The suppression is torchvision's; at an IoU of 1, as we call it, it suppresses nothing.
    module.batched_nms = lambda boxes, scores, labels, iou: scores.argsort()  # type: ignore[attr-defined]
    return module.OmDetTurboProcessor(
        AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )


def triples(predicted: Sequence[Annotation], *, labelled: bool = True) -> list[Any]:
    return [(one.label if labelled else None, one.score, one.box_xyxy) for one in predicted]


def assert_close(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    """Compare label, score and box, the surest first."""
    ours, theirs = (sorted(one, key=lambda row: (-row[1], row[2][0])) for one in (ours, theirs))
    assert [label for label, _, _ in ours] == [label for label, _, _ in theirs]
    assert [score for _, score, _ in ours] == pytest.approx(
        [score for _, score, _ in theirs], abs=1e-3
    )
    np.testing.assert_allclose([box for _, _, box in ours], [box for _, _, box in theirs], atol=0.2)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_says_what_its_post_processing_says(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    predicted = stage(written(name)).predict(odd_images)
    expected = post_processed(name, written(name), odd_images)
    for own, theirs in zip(predicted, expected, strict=True):
        assert len(theirs) > 2
        assert_close(triples(own, labelled=name not in DINOS), theirs)
        assert {one.task for one in own} == {"open_vocabulary_detection"}


@pytest.mark.parametrize("name", [*OWLS, *DINOS])
def test_one_name_is_what_the_pipeline_says(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    from transformers import pipeline

    task: Any = "zero-shot-object-detection"
    ask = pipeline(task, model=str(written(name)), device="cpu")
    (predicted,) = stage(written(name), classes=["cat"]).predict(odd_images[:1])
    word = "cat." if name in DINOS else "cat"
    theirs = ask(Image.fromarray(odd_images[0].image), candidate_labels=[word], threshold=LEAST)
    scores = [one["score"] for one in theirs]
    assert predicted
    for one in predicted:
        assert min(abs(one.score - score) for score in scores) < 1e-3  # type: ignore[operator]
    assert len(predicted) <= len(theirs), "boxes without an area inside the image are left out"


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_does_not_depend_on_the_neighbours(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written(name), vocabulary_from=["tags"])
    tagged = [
        with_words(sample, *(caption(f"thing {n}", "tag") for n in range(number)))
        for number, sample in enumerate(odd_images)
    ]
    together = detector.predict(tagged)
    for own, sample in zip(together, tagged, strict=True):
        assert_close(triples(own), triples(detector.predict([sample])[0]))


@pytest.mark.parametrize("name", FAMILIES)
def test_concurrent_calls_give_the_results_of_one(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written(name), vocabulary_from=["tags"])
    calls = [[with_words(one, caption(f"a {one.key}", "tag"))] * 3 for one in odd_images]
    alone = [detector.predict(call) for call in calls]
    predicted: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: predicted.update({n: detector.predict(calls[n])}))  # type: ignore[misc]
        for n in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, own in enumerate(alone):
        for first, second in zip(own, predicted[number], strict=True):
            assert_close(triples(first), triples(second))


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_moves_boxes_by_a_pixel_or_two(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    narrow = stage(written(name), dtype="bfloat16", classes=["cat"], least_score=0)
    wide = stage(written(name), classes=["cat"], least_score=0)
    (ours,), (theirs,) = narrow.predict(odd_images[-1:]), wide.predict(odd_images[-1:])
    exact = np.array([one.box_xyxy for one in theirs])
    distance = [np.abs(exact - one.box_xyxy).max(axis=1).min() for one in ours]
    assert ours
    assert np.median(distance) < 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_best_of_several_phrases_is_the_score_of_a_name(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    sample = odd_images[-1:]
    (apart,) = stage(written(name), classes=["cat", "man"]).predict(sample)
    (joined,) = stage(written(name), classes={"animal": ["cat", "man"]}).predict(sample)
    assert {one.label for one in joined} == {"animal"}
    if name == "omdet-turbo":  # which says all names of a box, and hears one sentence of them
        scores = {round(one.score or 0, 3) for one in apart}
        assert {round(one.score or 0, 3) for one in joined} & scores
    else:
        assert_close(triples(joined, labelled=False), triples(apart, labelled=False))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_negative_takes_its_boxes_away(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    sample = odd_images[-1:]
    (both,) = stage(written(name), classes=["cat", "man"]).predict(sample)
    (predicted,) = stage(written(name), classes=["cat"], negatives=["man"]).predict(sample)
    best = {one.box_xyxy: one for one in sorted(both, key=lambda one: one.score or 0)}
    assert {one.label for one in best.values()} == set(NOUNS)
    boxes = {label: {box for box, one in best.items() if one.label == label} for label in NOUNS}
    found = {one.box_xyxy for one in predicted}
    assert found >= boxes["cat"]
    assert not found & boxes["man"]
    assert {one.label for one in predicted} == {"cat"}


@pytest.mark.parametrize("name", DINOS)
def test_the_support_of_a_name_is_the_mean_of_its_tokens(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    (predicted,) = stage(written(name)).predict(odd_images[-1:])
    assert all(one.support is not None and one.support <= (one.score or 0) for one in predicted)
    assert len({one.label for one in predicted}) > 1
    assert all("." not in one.label for one in predicted)


@pytest.mark.parametrize("name", ["omdet-turbo", *DINOS])
def test_many_names_are_split_into_several_queries(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    sample = odd_images[-1:]
    halves = [stage(written(name), classes=[one]).predict(sample)[0] for one in ("cat", "dog")]
    (predicted,) = stage(written(name), classes=["cat", "dog"], classes_at_once=1).predict(sample)
    assert_close(triples(predicted), triples([*halves[0], *halves[1]]))


def test_names_that_a_text_cannot_hold_are_asked_in_several(
    written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written("grounding-dino"), classes=[f"number {n:05d}" for n in range(12)])
    (predicted,) = detector.predict(odd_images[-1:])
    assert len({one.label for one in predicted}) > 2
    assert any(one.label > "number 00006" for one in predicted)


def test_names_come_from_captions_and_tags(written: Written, odd_images: list[Sample]) -> None:
    words = (
        caption("Two dogs and the red rocket."),
        caption("Un perro.", language="es"),
        caption("It sits with a cup.", "detailed_caption"),
        caption("sea lion", "tag"),
    )
    sources = {"classes": [], "least_score": 0.0, "negatives": ["cup"]}
    every = stage(written("owlv2"), vocabulary_from=["captions", "tags"], **sources)
    sample = with_words(odd_images[-1], *words)
    assert every._further_names([sample]) == [["dog", "rocket", "cup", "sea lion"]]
    (predicted,) = every.predict([sample])
    assert predicted
    assert {one.label for one in predicted} <= {"dog", "rocket", "sea lion"}
    only_tags = stage(written("owlv2"), vocabulary_from=["tags"], **sources)
    assert {one.label for one in only_tags.predict([sample])[0]} == {"sea lion"}


def test_an_image_without_names_is_not_looked_at(written: Written, drawing: SampleOf) -> None:
    class Unseen:
        def pixels(self) -> np.ndarray:
            raise AssertionError("somebody looked")

    sample = replace(drawing(np.zeros((8, 8, 3), np.uint8)), picture=Unseen())  # type: ignore[arg-type]
    assert stage(written("owlv2"), classes=[], vocabulary_from=["tags"]).predict([sample]) == [[]]


def test_only_what_names_come_from_is_read() -> None:
    def reads(**options: Any) -> Any:
        return OpenVocabulary(OpenVocabularyConfig(**options)).reads

    captions = one_of("caption", "detailed_caption", "more_detailed_caption")
    assert reads() == ()
    assert reads(vocabulary_from=["captions"]) == (captions,)
    assert reads(vocabulary_from=["tags", "captions"]) == (one_of("tag"), captions)


@pytest.mark.parametrize("name", FAMILIES)
def test_awkward_images_have_boxes_inside_or_a_reason(
    name: str, written: Written, awkward: list[Sample]
) -> None:
    detector = stage(written(name))
    for sample in awkward:
        if name in DINOS and max(sample.width, sample.height) == 20_000:
            with pytest.raises(SampleError, match="cannot be resized") as caught:
                detector.predict([sample])
            assert caught.value.reason == TOO_THIN
            continue
        (predicted,) = detector.predict([sample])
        for one in predicted:
            assert not problem_of(one, width=sample.width, height=sample.height)
            assert one.box_xyxy[2] <= sample.width
            assert one.box_xyxy[3] <= sample.height


@pytest.mark.parametrize("name", OWLS)
def test_an_owl_sees_images_of_another_size(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    finer = stage(written(name), image_size=2 * SIDE, least_score=0).predict(odd_images[-1:])[0]
    assert len(finer) > len(stage(written(name), least_score=0).predict(odd_images[-1:])[0])


def test_a_size_that_omdet_turbo_does_not_take_is_named(written: Written) -> None:
    with pytest.raises(ConfigError, match="cannot take images of 80 px; use a multiple of 32"):
        stage(written("omdet-turbo"), image_size=80)


def test_a_template_goes_around_each_phrase(written: Written, odd_images: list[Sample]) -> None:
    (framed,) = stage(written("owlv2"), template="a {}").predict(odd_images[-1:])
    (by_hand,) = stage(written("owlv2"), classes={n: [f"a {n}"] for n in NAMES}).predict(
        odd_images[-1:]
    )
    (bare,) = stage(written("owlv2")).predict(odd_images[-1:])
    assert framed == by_hand != bare


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": []}, "no names to detect"),
        ({"template": "a cat"}, "needs `{}` exactly once"),
        ({"least_score": 1.0}, "less than 1"),
        ({"vocabulary_from": ["books"]}, "'captions' or 'tags'"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpenVocabularyConfig(**options)


def test_what_cannot_work_is_known_before_anything_is_loaded(
    written: Written, tmp_path: Path
) -> None:
    def revision(**options: Any) -> str:
        return OpenVocabulary(OpenVocabularyConfig(**options)).revision()

    here = str(written("owlv2"))
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ConfigError, match="an open-vocabulary detector is needed"):
        revision(model=str(tmp_path))
    with pytest.raises(ConfigError, match="in `classes` and in `negatives`"):
        revision(model=here, classes=["cat"], negatives=["cat"])
    with pytest.raises(ConfigError, match="there is no vocabulary"):
        revision(model=here, classes="configs/nowhere.txt")
    assert revision(model=here, classes=["cat"]) != revision(model=here, classes=["dog"])


def test_what_a_checkpoint_needs_beyond_us_is_said_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "florilegium.specialists.pretrained.checkpoint.find_spec", lambda name: None
    )
    config = OpenVocabularyConfig(model=str(tmp_path), weights="random")
    for text, message in (
        ('{"model_type": "omdet-turbo", "use_timm_backbone": true}', "pip install timm"),
        ('{"model_type": "owlv2"}', "pip install scipy"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(MissingPackage, match=message):
            OpenVocabulary(config).revision()


def test_numbers_that_overflow_are_an_error_and_not_an_empty_answer(
    written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written("owlv2"))
    detector.network.model.class_head.dense0.weight.data.fill_(float("nan"))
    with pytest.raises(SampleError, match="NaN"):
        detector.predict(odd_images[-1:])
