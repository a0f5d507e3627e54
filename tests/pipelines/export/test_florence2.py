"""Export for fine-tuning tools."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.florence2 import (
    ANNOTATIONS,
    Florence2Config,
    Florence2Exporter,
)
from florilegium.pipelines.export.parts import TEST, TRAIN, VALID, part_of
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.training.reader import Part, Reader
from florilegium.specialists.florence2.format import FLORENCE2_TASKS
from tests.building import build
from tests.pipelines.training.labels import encode

CONFIG = Florence2Config(allow_one_class=True)


def test_every_sample_lies_in_the_folder_of_its_digest_with_a_line_per_task(scenes, tmp_path):
    exported = export(str(scenes), Florence2Exporter(Florence2Config()), tmp_path / "out")
    rows = {}
    for part in (TRAIN, VALID, TEST):
        lines = (tmp_path / "out" / part / ANNOTATIONS).read_text("utf-8").splitlines()
        rows[part] = [json.loads(line) for line in lines]
        assert exported.lines.get(part, 0) == len(lines)
    for sample in open_dataset(str(scenes)):
        part = part_of(sample.sha256)
        name = f"{sample.key}.jpg"
        assert (tmp_path / "out" / part / name).read_bytes() == sample.image
        prefixes = [row["prefix"] for row in rows[part] if row["image"] == name]
        assert {"<OD>", "<CAPTION>"} <= set(prefixes)
        assert len(prefixes) == len(set(prefixes))
    assert sum(exported.images.values()) == 14


def test_lines_have_the_three_fields_and_known_markers(scenes, tmp_path):
    export(str(scenes), Florence2Exporter(Florence2Config()), tmp_path / "out")
    markers = tuple(task.marker for task in FLORENCE2_TASKS.values())
    for line in (tmp_path / "out" / TRAIN / ANNOTATIONS).read_text("utf-8").splitlines():
        row = json.loads(line)
        assert sorted(row) == ["image", "prefix", "suffix"]
        assert row["prefix"].startswith(markers)


def test_lines_are_counted_by_task_and_a_task_without_any_has_none(scenes, tmp_path):
    config = Florence2Config(tasks={"caption": 1, "region_description": 1, "ocr": 0})
    exported = export(str(scenes), Florence2Exporter(config), tmp_path / "out")
    assert exported.tasks == {"caption": 14, "region_description": 0}


def test_a_dataset_that_gives_no_example_is_refused_and_nothing_is_left(scenes, tmp_path):
    question = {"each": "metadata.questions", "prompt": "{question}", "target": "{answer}"}
    config = Florence2Config(tasks={"ask": 1}, custom={"ask": question})
    with pytest.raises(UsageError, match=r"gives an example of ask: check `tasks`"):
        export(str(scenes), Florence2Exporter(config), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone_and_a_broken_export_leaves_nothing(
    scenes, tmp_path, monkeypatch
):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        export(str(scenes), Florence2Exporter(Florence2Config()), tmp_path / "out")

    def broken(sha256: str) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr("florilegium.pipelines.export.parts.part_of", broken)
    with pytest.raises(OSError, match="full"):
        export(str(scenes), Florence2Exporter(Florence2Config()), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_images_of_an_original_dataset_are_exported_upright(tmp_path):
    """A red left half, turned by EXIF, is the top half of what labels speak of."""
    stored = Image.new("RGB", (64, 48), "green")
    stored.paste("red", (0, 0, 32, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    stored.save(tmp_path / "photos" / "a.jpg", exif=exif, quality=95)
    for images in ("original", "jpg", "png"):
        build(tmp_path / "photos", tmp_path / images, images=images)
        export(str(tmp_path / images), Florence2Exporter(CONFIG), tmp_path / f"export-{images}")
        (exported,) = (tmp_path / f"export-{images}").glob("*/a.*")
        with Image.open(exported) as image:
            assert image.size == (48, 64)
            assert image.getexif().get(0x0112, 1) == 1
            top, bottom = image.getpixel((24, 10)), image.getpixel((24, 54))
        assert np.allclose(top, (255, 0, 0), atol=4)
        assert np.allclose(bottom, (0, 128, 0), atol=4)


def test_two_tars_with_one_key_give_two_images_with_lines_of_their_own(tmp_path):
    (tmp_path / "tars").mkdir()
    for number, colour in enumerate(("red", "blue")):
        data = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(data, "JPEG")
        with tarfile.open(tmp_path / "tars" / f"t{number}.tar", "w") as tar:
            for name, content in (("jpg", data.getvalue()), ("txt", colour.encode())):
                member = tarfile.TarInfo(f"000000.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    build(tmp_path / "tars", tmp_path / "out")
    export(str(tmp_path / "out"), Florence2Exporter(CONFIG), tmp_path / "export")
    captions = {}
    for path in (tmp_path / "export").glob(f"*/{ANNOTATIONS}"):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["prefix"] == "<CAPTION>":
                with Image.open(path.parent / row["image"]) as image:
                    captions[row["suffix"]] = image.getpixel((16, 16))
    assert set(captions) == {"red", "blue"}
    assert captions["red"][0] > 250 > 5 > captions["red"][2]
    assert captions["blue"][2] > 250 > 5 > captions["blue"][0]


def test_one_image_in_twenty_is_for_validation_and_one_for_the_test():
    parts = [part_of(f"{number:012x}" + "0" * 52) for number in range(40)]
    assert parts == [VALID, TEST, *[TRAIN] * 18] * 2


@pytest.mark.parametrize("task", ["object_detection", "detailed_caption", "ocr"])
def test_lines_are_what_the_trainer_reads(scenes, tmp_path, task):
    """Of tasks without chance: one prompt and one target an image."""
    config = Florence2Config(tasks={task: 1})
    exported = export(str(scenes), Florence2Exporter(config), tmp_path / "out")
    count = sum(exported.lines.values())
    reader = Reader(
        dataset=open_dataset(str(scenes)),
        config=config.model_copy(update={"batch_size": 1, "length_pool": 1}),
        part=Part(),
        draw=ExampleMaker(config).draw,
        encode=encode,
    )
    batches = islice(reader.batches(consumer=0, consumers=1), count)
    read = [one.example for batch in batches for one in batch]
    rows = {}
    for path in (tmp_path / "out").glob(f"*/{ANNOTATIONS}"):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            rows[row["prefix"], row["suffix"]] = (path.parent / row["image"]).read_bytes()
    assert {(one.prefix, one.target): one.image for one in read} == rows
    assert 0 < count == len(read)
