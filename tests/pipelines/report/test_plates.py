"""Which samples are shown, and how their images are embedded."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.report.plates import PLATES, choose_plates, richest_first
from tests.pipelines.report.dataset import Photo, box, caption, phrase, plain, publish


def embedded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_samples_are_spread_evenly_over_all_shards(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    sizes = {"a": 13, "b": 36, "c": 23}
    shards = [
        [Photo(key=f"{name}{number:02d}", data=plain(8, 8)) for number in range(size)]
        for name, size in sizes.items()
    ]
    plates = list(choose_plates(output, publish(output, *shards), {}))
    keys = [plate.sample.key for plate in plates]
    assert len(keys) == PLATES
    assert [sum(key.startswith(name) for key in keys) for name in sizes] == [4, 12, 8]
    assert keys[:6] == ["a01", "a04", "a07", "a10", "b00", "b03"]
    assert [plate.number for plate in plates] == list(range(1, PLATES + 1))


def test_a_small_dataset_is_shown_whole(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    stats = publish(output, [Photo(key="a", data=plain())], [Photo(key="b", data=plain())])
    assert [plate.sample.key for plate in choose_plates(output, stats, {})] == ["a", "b"]


def test_a_rotated_photograph_is_shown_upright(
    photographs: dict[str, Path], tmp_path: Path
) -> None:
    output = Folder(str(tmp_path))
    with Image.open(photographs["flower"]) as photograph:
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        photograph.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif)
        upright = np.asarray(photograph.resize((40, 27)), dtype=int)
    (plate,) = choose_plates(output, publish(output, [Photo(key="a", data=file.getvalue())]), {})
    image = embedded(plate.image_uri)
    assert image.size == (640, 427)
    assert np.abs(np.asarray(image.resize((40, 27)), dtype=int) - upright).mean() < 6
    assert embedded(plate.thumbnail_uri).size == (160, 160)


def test_large_photographs_are_scaled_down_and_small_ones_kept(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    photos = [Photo(key="a", data=plain(1500, 900)), Photo(key="b", data=plain(30, 20))]
    large, small = choose_plates(output, publish(output, photos), {})
    assert embedded(large.image_uri).size == (640, 384)
    assert embedded(small.image_uri).size == (30, 20)
    assert small.canvas.width == 640


def test_an_image_that_no_stage_decoded_does_not_stop_the_report(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    cut = plain(300, 200, quality=95)[:700]
    (plate,) = choose_plates(output, publish(output, [Photo(key="a", data=cut)]), {})
    assert plate.failure == "corrupt_image"
    assert (plate.canvas.width, plate.canvas.height) == (640, 427)


def test_a_plate_has_only_the_annotations_of_its_sample(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    weak = caption("A dog.", id="weak", score=0.1)
    photos = [
        Photo(key="a", data=plain(), annotations=(weak, caption(), phrase("A cat", (0, 5)), box())),
        Photo(key="b", data=plain(), annotations=(caption("A cup."),)),
    ]
    first, second = choose_plates(output, publish(output, photos), {"detector": 3})
    assert [one.text for one in first.annotations] == ["A dog.", "A cat sleeps.", "A cat", "cat"]
    assert first.title == "A cat sleeps."
    assert first.dropped == 1
    assert first.annotations[3].specialist_number == 3
    assert [one.shown.text for one in second.captions] == ["A cup."]
    assert second.regions == []


def test_those_with_the_most_tasks_kept_come_first_and_the_others_in_their_order(
    tmp_path: Path,
) -> None:
    output = Folder(str(tmp_path))
    photos = [
        Photo(key=f"k{number}", data=plain(8, 8), annotations=annotations)
        for number, annotations in enumerate([(), (), (), (), (caption(),), (caption(), box())])
    ]
    plates = richest_first(list(choose_plates(output, publish(output, photos), {})))
    assert [plate.sample.key for plate in plates] == ["k5", "k4", "k0", "k1", "k2", "k3"]
    assert [plate.number for plate in plates] == [1, 2, 3, 4, 5, 6]


def test_what_was_dropped_is_shown_only_where_nothing_was_kept(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    weak = box("weak", score=0.1)
    photos = [
        Photo(key="bare", data=plain(), annotations=(weak,)),
        Photo(key="kept", data=plain(), annotations=(weak, caption())),
    ]
    bare, kept = choose_plates(output, publish(output, photos), {})
    assert (bare.is_bare, kept.is_bare) == (True, False)
    assert bare.drops == [("strong: too_weak", 1)]
    assert [one.switch for one in bare.annotations + kept.annotations] == ["", "dropped", "kept"]
