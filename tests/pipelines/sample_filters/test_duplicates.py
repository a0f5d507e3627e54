from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.pipelines.sample_filters.duplicates import Duplicates, DuplicatesConfig
from florilegium.pipelines.sample_filters.perceptual_hash import perceptual_hash
from florilegium.pipelines.sample_filters.similar_images import SimilarImages, SimilarImagesConfig
from tests.checkpoints.image_text import write_clip
from tests.pipelines.sample_filters.columns import columns_of

NAMES = ("astronaut", "cat", "cup", "rocket")
HASHES = {"a": "00000000000000ff", "close to a": "00000000000000fc", "b": "ffff000000000000"}


def reencoded(pixels: np.ndarray, scale: float, quality: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    size = (round(image.width * scale), round(image.height * scale))
    buffer = io.BytesIO()
    image.resize(size).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def distance(one: np.ndarray, other: np.ndarray) -> int:
    hashes = perceptual_hash(one), perceptual_hash(other)
    assert None not in hashes
    return (hashes[0] ^ hashes[1]).bit_count()  # type: ignore[operator]


def test_a_photograph_is_close_to_its_copies_and_far_from_others(photograph) -> None:
    images = [photograph(name).image for name in NAMES]
    for image in images:
        for scale, quality in ((1, 30), (0.5, 75), (0.25, 50), (1.5, 90)):
            assert distance(image, reencoded(image, scale, quality)) <= 4
        brighter = (image * 0.8 + 40).astype(np.uint8)
        assert distance(image, brighter) <= 4
    for row, image in enumerate(images):
        assert min(distance(image, other) for other in images[row + 1 :] or [255 - image]) > 10


def test_an_image_without_contrast_has_no_hash() -> None:
    assert perceptual_hash(np.full((40, 60, 3), 90, np.uint8)) is None
    noise = np.random.default_rng(0).integers(88, 92, (400, 600, 3), dtype=np.uint8)
    assert perceptual_hash(noise) is None
    sample = Sample(key="a", width=2, height=2, picture=_picture(np.zeros((2, 2, 3), np.uint8)))
    assert Duplicates(DuplicatesConfig()).measure([sample]) == [{}]


def _picture(pixels: np.ndarray) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture(buffer.getvalue())


def verdicts_of(stage: Duplicates, *shards: dict[str, str], **more) -> list[tuple[str, str]]:
    """What is judged of the samples of some shards, given by content and hash."""
    keys = [[f"{number}/{row}" for row in range(len(own))] for number, own in enumerate(shards)]
    given = [
        columns_of(names, contents=list(own), texts={"perceptual_hash": list(own.values())}, **more)
        for names, own in zip(keys, shards, strict=True)
    ]
    answers = []
    for names, own, found in zip(keys, shards, stage.compare(iter(given)), strict=True):
        judged = stage.judge(columns_of(names, contents=list(own), texts=found))
        answers += zip(judged.reason, found["copy_of"], strict=True)
    return answers


def test_the_first_is_kept_and_its_copies_name_it() -> None:
    stage = Duplicates(DuplicatesConfig(radius=4, across_run=True))
    first = {"one": HASHES["a"], "two": HASHES["b"]}
    second = {"three": HASHES["close to a"], "one": HASHES["a"], "four": ""}
    third = {"three": HASHES["close to a"], "four": ""}
    of_first = [("", ""), ("", "")]
    of_second = [("near_duplicate", "0/0"), ("exact_duplicate", "0/0"), ("", "")]
    assert verdicts_of(stage, first) == of_first
    assert verdicts_of(stage, first, second) == of_first + of_second
    of_third = [("exact_duplicate", "0/0"), ("exact_duplicate", "1/2")]
    assert verdicts_of(stage, first, second, third) == of_first + of_second + of_third


def test_within_a_shard_the_largest_is_kept_then_the_first_key() -> None:
    stage = Duplicates(DuplicatesConfig(across_run=True))
    shard = {"small": HASHES["a"], "large": HASHES["close to a"], "as large": HASHES["a"]}
    sizes = [(64, 48), (128, 96), (96, 128)]
    assert verdicts_of(stage, shard, sizes_wh=sizes) == [
        ("near_duplicate", "0/1"),
        ("", ""),
        ("near_duplicate", "0/1"),
    ]


def test_without_hashes_only_bytes_are_compared_and_nothing_is_measured() -> None:
    stage = Duplicates(DuplicatesConfig(perceptual=False))
    assert not stage.has_layer
    shard = columns_of(["a", "b", "c"], contents=["x", "y", "x"])
    assert next(stage.compare([shard])) == {"copy_of": ["", "", "a"], "copy": ["", "", "exact"]}


def test_images_of_a_benchmark_are_dropped_by_digest_and_by_hash(tmp_path: Path) -> None:
    from hashlib import sha256

    text = tmp_path / "benchmark.txt"
    text.write_text(f"# digests\n{sha256(b'two').hexdigest()}  # two\n")
    parquet = tmp_path / "layers" / "0.parquet"
    parquet.parent.mkdir()
    pq.write_table(pa.table({"perceptual_hash": [HASHES["a"], None]}), parquet)
    stage = Duplicates(
        DuplicatesConfig(benchmarks=(str(text), str(parquet.parent)), across_run=True)
    )
    shard = {"one": HASHES["close to a"], "two": HASHES["b"], "three": HASHES["b"]}
    reasons = [reason for reason, _ in verdicts_of(stage, shard)]
    assert reasons == ["in_benchmark", "in_benchmark", ""]
    alone = Duplicates(DuplicatesConfig(benchmarks=stage.config.benchmarks, across_run=False))
    assert not alone.compares
    given = {"contents": list(shard), "texts": {"perceptual_hash": list(shard.values())}}
    assert alone.judge(columns_of(["a", "b", "c"], **given)).reason.tolist() == reasons


def test_the_content_of_a_list_counts_not_its_path(tmp_path: Path) -> None:
    def revision(*lines: str) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
        path.write_text("\n".join(lines))
        return Duplicates(DuplicatesConfig(benchmarks=(str(path),))).revision()

    assert revision(HASHES["a"], HASHES["b"]) == revision("# again", HASHES["b"], HASHES["a"])
    assert revision(HASHES["a"]) != revision(HASHES["b"])
    assert Duplicates(DuplicatesConfig()).revision() == ""


@pytest.mark.parametrize("line", ["12345", "no digest", "g" * 64])
def test_a_line_that_is_no_digest_is_refused_before_anything_starts(
    line: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(f"{HASHES['a']}\n{line}\n")
    config = DuplicatesConfig(benchmarks=(str(tmp_path / "list.txt"),))
    with pytest.raises(ConfigError, match=r"line 2: .* is neither"):
        Duplicates(config).revision()


def test_a_list_that_is_missing_or_has_no_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"other": [1]}), tmp_path / "a.parquet")
    for path in (tmp_path, tmp_path / "a.parquet"):
        with pytest.raises(ConfigError, match="column 'sha256' or 'perceptual_hash'"):
            Duplicates(DuplicatesConfig(benchmarks=(str(path),))).revision()
    with pytest.raises(ConfigError, match="there is no list of benchmark images"):
        Duplicates(DuplicatesConfig(benchmarks=("nowhere.txt",))).revision()


def test_images_with_close_embeddings_are_similar(
    tmp_path: Path, photograph: Callable[[str], Sample]
) -> None:
    model = str(write_clip(tmp_path))
    stage = SimilarImages(SimilarImagesConfig(model=model, least_cosine=0.999))
    stage.load()
    cat = photograph("cat")
    copy = Sample(
        key="copy",
        width=cat.width,
        height=cat.height,
        picture=_picture(reencoded(cat.image, 0.9, 90)),
    )
    samples = [cat, photograph("rocket"), copy]
    texts = [one["embedding"] for one in stage.measure(samples)]
    shard = columns_of(["cat", "rocket", "copy"], texts={"embedding": texts})
    found = next(stage.compare([shard]))
    judged = stage.judge(columns_of(["cat", "rocket", "copy"], texts=found))
    assert found["copy_of"][0] in ("", "copy")
    assert sorted(judged.reason) == ["", "", "similar_image"]
    assert judged.reason[1] == ""
