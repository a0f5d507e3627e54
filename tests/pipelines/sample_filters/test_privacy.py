from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import validated
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.sample_filters.privacy import Privacy, PrivacyConfig
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build, contents
from tests.pipelines.sample_filters.columns import of_rows
from tests.pipelines.sample_filters.stages import FACE_XYXY, TEXT_XYXY

KEYS = ("plain", "face", "mail", "face-mail")


def face(label: str = "human face", score: float | None = None, **more: Any) -> Annotation:
    fields = {"task": "object_detection", "box_xyxy": FACE_XYXY, **more}
    return Annotation(kind="region", label=label, score=score, **fields)


def line(text: str, **more: Any) -> Annotation:
    return Annotation(kind="region", task="ocr", text=text, **more)


def stage_of(**options: Any) -> Privacy:
    return Privacy(validated(PrivacyConfig, options, where="sample_filters.privacy"))


def measured(drawing: Any, *annotations: Annotation, **options: Any) -> dict[str, Any]:
    sample = drawing(np.zeros((60, 80, 3), np.uint8), *annotations)
    return dict(stage_of(**options).measure([sample])[0])


def test_boxes_count_by_their_label_and_their_score(drawing) -> None:
    found = [face(), face("Licence Plate", 0.9), face("face", 0.1), face("cat", 0.9)]
    assert measured(drawing, *found)["regions"] == 2
    assert measured(drawing, *found, least_score=0)["regions"] == 3
    assert measured(drawing, *found, labels=["cat"])["regions"] == 1


def test_texts_count_by_their_kinds_and_bring_their_boxes(drawing) -> None:
    mail = line("jane@example.org", box_xyxy=TEXT_XYXY)
    phone = line("+1 202-555-0143", quad=(5.0, 4.0, 9.0, 5.0, 8.0, 9.0, 4.0, 8.0))
    harmless = line("OPEN 9-17", box_xyxy=FACE_XYXY)
    row = measured(drawing, mail, phone, harmless)
    assert (row["personal_texts"], row["without_box"], row["kinds"]) == (2, 0, "email phone")
    assert json.loads(row["blurred"]) == [[4, 4, 9, 9], list(TEXT_XYXY)]
    assert measured(drawing, mail, phone, texts=["phone"])["kinds"] == "phone"
    whole = Annotation(kind="text", task="transcript", text="write to jane@example.org")
    assert measured(drawing, whole)["without_box"] == 1


def test_a_mask_is_blurred_by_the_box_around_it(drawing) -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[12:30, 20:50] = 1
    encoded = coco_mask.encode(np.asfortranarray(pixels))
    mask = MaskRLE(size=(60, 80), counts=encoded["counts"].decode())
    outlined = face("face", task="segmentation", box_xyxy=(), mask_rle=mask)
    row = measured(drawing, outlined)
    assert (row["regions"], json.loads(row["blurred"])) == (1, [[20, 12, 50, 30]])


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="'name' is not looked for"):
        stage_of(texts=["name"])


def test_images_are_dropped_by_their_numbers_or_blurred() -> None:
    rows = [
        {"regions": regions, "personal_texts": texts, "without_box": alone, "blurred": "[]"}
        for regions, texts, alone in ((0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    ]
    rows.append({"regions": 0.0, "personal_texts": 1.0, "without_box": 1.0, "blurred": "[]"})

    def reasons(**options: Any) -> list[str]:
        return stage_of(**options).judge(of_rows(rows)).reason.tolist()

    assert reasons() == ["", "personal_region", "personal_text", "personal_text"]
    assert reasons(most_regions=2, most_texts=1) == [""] * 4
    assert reasons(action="blur") == ["", "", "", "personal_text"]
    assert (stage_of().blurs, stage_of(action="blur").blurs) == ("", "blurred")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    noise = np.random.default_rng(0)
    for key in KEYS:
        pixels = noise.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{key}.jpg", quality=95)
    return folder


def curated(people: Path, out: Path, **options: Any) -> Path:
    use = "tests.pipelines.sample_filters.stages:Known"
    build(
        people,
        out,
        sample_filters={"privacy": options},
        specialists={"known": {"use": use}},
        max_dead_letter_share=1,
    )
    return out


def test_people_are_dropped_or_blurred_in_the_stored_image(people: Path, tmp_path: Path) -> None:
    out = curated(people, tmp_path / "out")
    assert [one.key for one in open_dataset(str(out))] == ["plain"]
    curated(people, out, action="blur")
    samples = {one.key: one for one in open_dataset(str(out))}
    assert sorted(samples) == sorted(KEYS)
    for key, one in samples.items():
        source = (people / f"{key}.jpg").read_bytes()
        assert one.sha256 == sha256(source).hexdigest()
        before = np.asarray(Image.open(people / f"{key}.jpg")).astype(float)
        change = np.abs(one.pixels() - before).mean(axis=2)
        assert (change[11:29, 11:29].mean() > 30) == ("face" in key)
        assert (change[6:14, 41:69].mean() > 30) == ("mail" in key)
        assert change[40:, :].mean() < 3
        boxes = {annotation.box_xyxy for annotation in one.annotations}
        assert (FACE_XYXY in boxes, TEXT_XYXY in boxes) == ("face" in key, True)
        assert (one.image == source) == (key == "plain")
    assert not list(verify_dataset(Folder(str(out))))
    again = curated(people, tmp_path / "again", action="blur")
    assert contents(out) == contents(again)
