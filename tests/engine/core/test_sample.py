from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core import sample as samples
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Picture, Sample, digest_of, fold_of, is_in_share
from tests.engine.by_hand import caption, region


def test_pixels_are_decoded_once_for_all_who_ask(
    photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = samples.decode
    monkeypatch.setattr(samples, "decode", lambda data: decoded.append(len(data)) or decode(data))
    picture = Picture(photographs["cat"].read_bytes())
    assert decoded == []
    sample = Sample(key="cat", width=451, height=300, picture=picture)
    assert sample.image is sample.image
    assert sample.image.shape == (300, 451, 3)
    assert len(decoded) == 1


def test_pixels_that_stages_share_cannot_be_written(photographs: dict[str, Path]) -> None:
    pixels = Picture(photographs["cat"].read_bytes()).pixels()
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 0


def test_a_picture_fails_every_time_and_is_decoded_once(
    photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Picture(photographs["pagoda"].read_bytes()[:5000])
    with pytest.raises(SampleError) as first:
        picture.pixels()
    monkeypatch.setattr(samples, "decode", lambda data: np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(SampleError) as second:
        picture.pixels()
    assert first.value is second.value
    assert first.value.reason == "corrupt_image"


def test_bytes_in_shared_memory_decode_like_bytes(photographs: dict[str, Path]) -> None:
    data = photographs["flower"].read_bytes()
    assert (Picture(memoryview(data)).pixels() == Picture(data).pixels()).all()


def test_annotations_of_a_task_come_in_the_order_they_were_said() -> None:
    annotations = (region("a"), caption(), region("b"))
    sample = Sample(key="x", width=1, height=1, picture=Picture(b""), annotations=annotations)
    assert [one.label for one in sample.of("object_detection")] == ["a", "b"]
    assert list(sample.of("caption", "object_detection")) == list(annotations)
    assert list(sample.of("ocr")) == []


def test_a_digest_respects_boundaries_order_and_odd_names() -> None:
    digests = {
        digest_of(["ab", "c"]),
        digest_of(["a", "bc"]),
        digest_of(["c", "ab"]),
        digest_of(["abc"]),
        digest_of(["abc", ""]),
        digest_of([]),
        digest_of(["\udcff"]),
    }
    assert len(digests) == 7
    assert all(len(digest) == 32 for digest in digests)


def test_the_fold_of_an_image_is_told_by_the_first_digits_of_its_digest() -> None:
    """Other digits choose what validates; folds are part of layers and of trained students."""
    digest = "00000000001f" + "8" * 52
    assert [fold_of(digest, folds) for folds in (1, 2, 3, 5, 31, 32)] == [0, 1, 1, 1, 0, 31]
    assert fold_of("00000000001e" + "8" * 52, 2) == 0
    assert fold_of("", 3) == 0


def test_a_share_of_images_is_as_large_as_named_and_has_those_of_a_smaller_one() -> None:
    images = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    tenth = {image for image in images if is_in_share(image, 0.1)}
    assert 0.08 < len(tenth) / len(images) < 0.12
    assert tenth < {image for image in images if is_in_share(image, 0.3)}
    assert all(is_in_share(image, 1) for image in images)
    assert is_in_share("f" * 64, 1)


def test_a_share_does_not_follow_the_folds() -> None:
    images = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]
    halves = [fold_of(image, 2) for image in images if is_in_share(image, 0.25)]
    assert 0.45 < sum(halves) / len(halves) < 0.55
