"""Annotations from a file in place of earlier stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig, maybe
from florilegium.pipelines.trial.table import to_json
from florilegium.pipelines.trial.trial import prepare_trial
from tests.pipelines.trial.conftest import BRIGHTEST, DESCRIBE, Try, config_of


class Parents(Specialist[StageConfig]):
    """Tags an image with the words of annotations that have a parent, and those of the parent."""

    reads = (maybe("caption", "phrase_grounding", "object_detection"),)
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [self._tags(sample) for sample in samples]

    def _tags(self, sample: Sample) -> list[Annotation]:
        words = {one.id: one.words for one in sample.annotations}
        return [
            Annotation(kind="text", task="tag", label=f"{one.words} of {words[one.parent_id]}")
            for one in sample.annotations
            if one.parent_id
        ]


BOX = {"task": "object_detection", "label": "whisker", "box_xyxy": [1, 2, 30, 40]}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def texts(trial: Any) -> list[list[str]]:
    return [[row["text"] for row in image.rows] for image in trial.images]


@pytest.mark.parametrize("content", [[BOX], {"annotations": [BOX]}])
def test_a_list_is_of_the_only_image(
    tried: Try, images: list[str], tmp_path: Path, content: Any
) -> None:
    path = written(tmp_path / "boxes.json", content)
    assert texts(tried(DESCRIBE, images[:1], annotations=path)) == [["A picture with a whisker."]]
    with pytest.raises(ConfigError, match="which of 2 images"):
        tried(DESCRIBE, images, annotations=path)


def test_images_are_found_by_the_name_of_their_file(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    content = {
        "images": [
            {"image": "cup_corner.png", "annotations": [BOX]},
            {"image": "another.png", "annotations": []},
        ]
    }
    path = written(tmp_path / "boxes.json", content)
    trial = tried(DESCRIBE, images, annotations=path)
    assert texts(trial) == [[], ["A picture with a whisker."]]


def test_what_a_trial_prints_is_read_by_the_next(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    printed = to_json(tried(BRIGHTEST, images), {})
    path = written(tmp_path / "printed.json", printed)
    trial = tried(DESCRIBE, images, annotations=path)
    assert texts(trial) == [["A picture with a bright corner."]] * 2
    assert [cost.name for cost in trial.costs] == ["given", "Describe"]


def test_given_annotations_stand_for_the_stages_of_a_config(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    path = written(tmp_path / "boxes.json", [BOX])
    describe = {"describe": {"use": DESCRIBE, "reads": "bright"}, "bright": {"use": BRIGHTEST}}
    trial = tried("describe", images[:1], config=config_of(specialists=describe), annotations=path)
    assert texts(trial) == [["A picture with a whisker."]]


def test_parents_are_kept_where_they_are_there(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    rows = [
        {"task": "caption", "text": "a whisker", "id": "c"},
        {"task": "phrase_grounding", "text": "whisker", "box_xyxy": [1, 2, 30, 40], "span": [2, 9],
         "parent_id": "c"},
        {**BOX, "parent_id": "gone"},
    ]  # fmt: skip
    path = written(tmp_path / "rows.json", rows)
    trial = tried("tests.pipelines.trial.test_given:Parents", images[:1], annotations=path)
    assert [row["label"] for row in trial.images[0].rows] == ["whisker of a whisker"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"task": "object_detection", "bbox": [1, 2, 3, 4]}], "unknown key 'bbox'"),
        ([{"label": "cat"}], "the key 'task' is missing"),
        ({"images": [{"image": "dog.png", "annotations": []}]}, "of none of .*cat.jpg"),
        ({"images": {"cat.jpg": []}}, "give a list of objects"),
        ({"annotations": None}, "give a list of objects"),
        ("cat", "give a list of objects"),
    ],
)
def test_a_file_of_another_form_is_an_error(
    tried: Try, images: list[str], tmp_path: Path, content: Any, message: str
) -> None:
    path = written(tmp_path / "wrong.json", content)
    with pytest.raises(ConfigError, match=message):
        tried(DESCRIBE, images[:1], annotations=path)


def test_a_file_that_is_no_json_is_an_error(tried: Try, images: list[str], tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text("{")
    with pytest.raises(ConfigError, match=r"wrong\.json: .*give a JSON file with annotations"):
        tried(DESCRIBE, images, annotations=tmp_path / "wrong.json")


def test_a_given_box_outside_of_its_image_fails_as_one_of_a_stage(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    path = written(tmp_path / "far.json", [{**BOX, "box_xyxy": [500, 0, 600, 20]}])
    letter = tried(DESCRIBE, images[:1], annotations=path).images[0].failure
    assert letter is not None
    assert (letter.stage, letter.reason) == ("given", "invalid_output")


def test_what_a_filter_dropped_is_left_out_and_counted(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    rows = [{**BOX, "label": "tail", "kept": False}, {**BOX, "kept": True}]
    path = written(tmp_path / "rows.json", rows)
    options: dict[str, Any] = {"scratch": tmp_path / "scratch", "annotations": path}
    prepared = prepare_trial(DESCRIBE, images[:1], **options)
    assert prepared.remarks == (f"{path}: 1 annotation left out, which a filter dropped",)
    assert texts(tried(DESCRIBE, images[:1], annotations=path)) == [["A picture with a whisker."]]


def test_images_with_the_same_bytes_cannot_have_different_annotations(
    tried: Try, images: list[str], tmp_path: Path
) -> None:
    same = [images[0], str(tmp_path / "cat.jpg")]
    copyfile(*same)
    bare = written(tmp_path / "bare.json", {"images": [{"image": "cat.jpg", "annotations": []}]})
    with pytest.raises(ConfigError, match=r"the image cat.jpg may be .* or .*: name it as"):
        tried(DESCRIBE, same, annotations=bare)
    entries = [{"image": one, "annotations": [BOX][:n]} for n, one in enumerate(same)]
    other = written(tmp_path / "other.json", {"images": entries})
    with pytest.raises(ConfigError, match="have the same bytes, and different annotations"):
        tried(DESCRIBE, same, annotations=other)
    entries = [{"image": one, "annotations": [BOX]} for one in same]
    equal = written(tmp_path / "equal.json", {"images": entries})
    assert texts(tried(DESCRIBE, same, annotations=equal)) == [["A picture with a whisker."]] * 2
    twice = written(tmp_path / "twice.json", {"images": entries[:1] * 2})
    with pytest.raises(ConfigError, match=r"has annotations of .* twice"):
        tried(DESCRIBE, same, annotations=twice)
