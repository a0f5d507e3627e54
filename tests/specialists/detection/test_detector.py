from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.validity import problem_of
from florilegium.engine.execution.answer import ask
from florilegium.engine.planning.graph import Node
from florilegium.specialists.detection.detector import Detector, DetectorConfig
from florilegium.specialists.pretrained.network import NOT_A_NUMBER, TOO_THIN
from florilegium.specialists.regions.overlap import box_overlap
from tests.checkpoints import written_once
from tests.checkpoints.detector import NAMES, WRITERS, pipeline_answers

SampleOf = Callable[..., Sample]
Written = Callable[[str], Path]
FAMILIES = sorted(set(WRITERS) - set(Detector.family.needs_torchvision))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny detector of a family, once."""
    return written_once(lambda name, folder: WRITERS[name](folder), tmp_path_factory)


def stage(folder: Path, **options: Any) -> Detector:
    detector = Detector(DetectorConfig(model=str(folder), **options))
    detector.load()
    return detector


def triples(predicted: Sequence[Annotation]) -> list[tuple[str, float | None, tuple[float, ...]]]:
    return [(one.label, one.score, one.box_xyxy) for one in predicted]


def assert_close(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    """Compare label, score and box, up to what the order of sums in a batch changes."""
    assert [label for label, _, _ in ours] == [label for label, _, _ in theirs]
    assert [score for _, score, _ in ours] == pytest.approx(
        [score for _, score, _ in theirs], abs=1e-3
    )
    np.testing.assert_allclose([box for _, _, box in ours], [box for _, _, box in theirs], atol=0.1)


def assert_sane(predicted: Sequence[Annotation], sample: Sample) -> None:
    for one in predicted:
        assert not problem_of(one, width=sample.width, height=sample.height)
        assert 0 <= one.box_xyxy[0] < one.box_xyxy[2] <= sample.width
        assert 0 <= one.box_xyxy[1] < one.box_xyxy[3] <= sample.height


def config_of(folder: Path, **fields: Any) -> str:
    """Write a config.json and no weights; return the folder."""
    (folder / "config.json").write_text(json.dumps(fields))
    return str(folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_says_what_its_pipeline_says(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    predicted = stage(written(name), least_score=0.2).predict(odd_images)
    expected = list(pipeline_answers(written(name), odd_images, 0.2))
    for sample, ours, theirs in zip(odd_images, predicted, expected, strict=True):
        assert_sane(ours, sample)
        assert_close(triples(ours), theirs)
    assert all(predicted)
    assert predicted[0] != predicted[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_runs_in_bfloat16_and_is_read_in_float32(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    predicted = stage(written(name), dtype="bfloat16").predict(odd_images)
    for one, sample in zip(predicted, odd_images, strict=True):
        assert_sane(one, sample)
    numbers = torch.tensor([one.box_xyxy for each in predicted for one in each])
    assert (numbers.bfloat16().float() != numbers).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_does_not_depend_on_the_batch(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written(name), batch_size=3)
    together = detector.predict(odd_images)
    for one, sample in zip(together, odd_images, strict=True):
        (alone,) = detector.predict([sample])
        assert_close(triples(one), triples(alone))
    for one, other in zip(together, detector.predict(odd_images[::-1])[::-1], strict=True):
        assert_close(triples(one), triples(other))


def test_a_model_that_computes_no_numbers_is_not_taken_for_one_that_sees_nothing(
    written: Written, odd_images: list[Sample]
) -> None:
    detector = stage(written("rt_detr"))
    with torch.no_grad():
        detector.network.model.model.decoder.bbox_embed[-1].layers[-1].bias.fill_(torch.nan)
    with pytest.raises(SampleError, match=r"NaN in torch\.float32") as caught:
        detector.predict(odd_images)
    assert caught.value.reason == NOT_A_NUMBER


def test_objects_are_scored_above_the_least_score(
    written: Written, odd_images: list[Sample]
) -> None:
    many = stage(written("rt_detr"), least_score=0.1).predict(odd_images)
    few = stage(written("rt_detr"), least_score=0.5).predict(odd_images)
    assert few == [
        [one for one in predicted if one.score and one.score > 0.5] for predicted in many
    ]
    assert 0 < sum(map(len, few)) < sum(map(len, many))
    assert {one.label for predicted in many for one in predicted} <= set(NAMES)
    assert {(one.kind, one.task) for predicted in many for one in predicted} == {
        ("region", "object_detection")
    }


def test_a_class_without_a_name_is_not_said(
    written: Written, odd_images: list[Sample], tmp_path: Path
) -> None:
    folder = WRITERS["rt_detr"](tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "person", "1": "N/A", "2": "N/A", "3": "N/A"}
    (folder / "config.json").write_text(json.dumps(config))
    all_named = stage(written("rt_detr")).predict(odd_images)
    assert stage(folder).predict(odd_images) == [
        [one for one in predicted if one.label == "person"] for predicted in all_named
    ]


def test_proposals_are_boxes_without_names_one_for_each_place(
    written: Written, odd_images: list[Sample]
) -> None:
    folder = written("deformable_detr")
    options: dict[str, Any] = {"least_score": 0.9, "least_proposal_score": 0.2, "batch_size": 1}
    both = stage(folder, tasks=("object_detection", "region_proposal"), proposal_iou=0.5, **options)
    proposals = stage(folder, tasks=("region_proposal",), proposal_iou=0.5, **options)
    assert both.produces == ("object_detection", "region_proposal")
    assert proposals.produces == ("region_proposal",)
    for sample, predicted, found, proposed, raw in zip(
        odd_images,
        both.predict(odd_images),
        stage(folder, **options).predict(odd_images),
        proposals.predict(odd_images),
        stage(folder, least_score=0.2, batch_size=1).predict(odd_images),
        strict=True,
    ):
        assert_sane(proposed, sample)
        assert predicted == [*found, *proposed]
        assert {one.label for one in proposed} == {""}
        scores = [one.score or 0.0 for one in proposed]
        assert all(first >= second for first, second in pairwise(scores))
        assert 0.2 < scores[-1] < 0.9
        boxes = [one.box_xyxy for one in proposed]
        assert len(boxes) > 2
        assert set(boxes) < {one.box_xyxy for one in raw}
        iou, _ = box_overlap(boxes, boxes)
        assert iou[~np.eye(len(boxes), dtype=bool)].max() <= 0.5
        # Whatever is not proposed lies where something better is.
        iou, _ = box_overlap([one.box_xyxy for one in raw], boxes)
        assert (iou.max(axis=1) > 0.5).all()


def test_no_more_proposals_than_allowed(written: Written, odd_images: list[Sample]) -> None:
    options: dict[str, Any] = {"tasks": ("region_proposal",), "proposal_iou": 1.0}
    all_said = stage(written("detr"), **options).predict(odd_images)
    few = stage(written("detr"), max_proposals=2, **options).predict(odd_images)
    assert few == [predicted[:2] for predicted in all_said]
    assert max(map(len, all_said)) > 2


@pytest.mark.parametrize("name", ["rt_detr", "detr", "yolos"])
def test_awkward_images_are_answered_or_refused_for_their_shape(
    name: str, written: Written, awkward: list[Sample]
) -> None:
    detector = stage(written(name))
    node = Node[Any](name="it", use="it", stage=detector, fingerprint="f")
    for predicted, sample in zip(ask(node, awkward), awkward, strict=True):
        if isinstance(predicted, SampleError):
            assert predicted.reason == TOO_THIN
            assert name != "rt_detr"
            assert max(sample.width, sample.height) == 20_000
        else:
            assert_sane(predicted, sample)  # type: ignore[arg-type]


def test_the_image_size_is_what_the_model_sees(
    written: Written, odd_images: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = stage(written("rt_detr"), image_size=96)
    seen = []
    look = detector.network.model.forward

    def forward(**inputs: Any) -> Any:
        seen.append(inputs["pixel_values"].shape[-2:])
        return look(**inputs)

    monkeypatch.setattr(detector.network.model, "forward", forward)
    assert detector.predict(odd_images) != stage(written("rt_detr")).predict(odd_images)
    assert set(seen) == {(96, 96)}


def test_an_image_size_that_the_model_cannot_take_ends_at_loading(written: Written) -> None:
    with pytest.raises(ConfigError, match=r"image_size 100.* multiple of 32"):
        stage(written("rt_detr"), image_size=100)


def test_another_kind_of_model_is_refused_before_loading(
    tiny_florence2: Callable[[int], Path],
) -> None:
    with pytest.raises(ConfigError, match="'florence2'; an object detector is needed"):
        Detector(DetectorConfig(model=str(tiny_florence2(0)))).revision()


def test_a_detector_of_page_layout_is_refused(tmp_path: Path) -> None:
    model = config_of(tmp_path, model_type="pp_doclayout_v3")
    with pytest.raises(ConfigError, match="'pp_doclayout_v3'; an object detector is needed"):
        Detector(DetectorConfig(model=model)).revision()


@pytest.mark.parametrize("names", [None, {"0": "LABEL_0", "1": "LABEL_1"}])
def test_classes_without_names_are_refused_where_names_are_wanted(
    written: Written, tmp_path: Path, names: dict[str, str] | None
) -> None:
    config = json.loads((written("detr") / "config.json").read_text())
    model = config_of(tmp_path, **{**config, "id2label": names})
    (tmp_path / "preprocessor_config.json").write_text("{}")
    options = {"model": model, "weights": "random"}
    with pytest.raises(ConfigError, match="does not name its classes"):
        Detector(DetectorConfig(**options)).revision()
    assert Detector(DetectorConfig(**options, tasks=("region_proposal",))).revision()


def test_what_a_checkpoint_needs_beyond_us_is_said_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "florilegium.specialists.pretrained.checkpoint.find_spec", lambda name: None
    )
    config = DetectorConfig(model=str(tmp_path), weights="random")
    config_of(tmp_path, model_type="rf_detr", id2label={"0": "cat"})
    with pytest.raises(MissingPackage, match=r"pip install 'florilegium\[torchvision\]'"):
        Detector(config).revision()
    for backbone in (
        {"use_timm_backbone": True},
        {"backbone_config": {"model_type": "timm_backbone"}},
    ):
        config_of(tmp_path, model_type="detr", id2label={"0": "cat"}, **backbone)
        with pytest.raises(MissingPackage, match=r"pip install timm, or .*no_timm"):
            Detector(config).revision()


def test_a_task_of_others_is_refused() -> None:
    with pytest.raises(ValidationError, match="'object_detection' or 'region_proposal'"):
        DetectorConfig(tasks=("segmentation",))  # type: ignore[arg-type]
    assert DetectorConfig(tasks=("region_proposal",) * 2).tasks == ("region_proposal",)


def test_untrained_weights_are_marked(written: Written, odd_images: list[Sample]) -> None:
    detector = stage(written("d_fine"), weights="random")
    assert detector.caveat() == "random weights"
    assert detector.model.endswith("(random weights)")
    detector.predict(odd_images)
