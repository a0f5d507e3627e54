"""Episodes: examples with answers, a query without, and no answer that leaks."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.planning.config import validated
from florilegium.pipelines.export.episodes import EpisodesConfig, EpisodesExported, EpisodesExporter
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.parts import part_of
from florilegium.pipelines.export.shots import shots_of
from tests.building import build
from tests.checkpoints.image_text import write_clip
from tests.pipelines.export.tars import samples_in

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain images of three colours with captions of the source; some of each part."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(60):
        pixels = np.full((40, 60, 3), number, np.uint8)
        pixels[..., number % 3] = 250
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        text = f"A {COLOURS[number % 3]} <image> number {number}."
        (folder / f"{number:03d}.txt").write_text(text)
    output = tmp_path_factory.mktemp("dataset") / "out"
    build(folder, output, shard_size=25)
    return output


def write(dataset: Path, output: Path, **options: Any) -> EpisodesExported:
    config = validated(EpisodesConfig, {"shots": [0, 3], **options}, where="test")
    return export(str(dataset), EpisodesExporter(config), output)


def episodes(folder: Path) -> Iterator[dict[str, Any]]:
    """Read episodes as a trainer reads WebDataset."""
    for row in samples_in(folder):
        names = sorted(name for name in row if name.endswith(".jpg"))
        images = [Image.open(io.BytesIO(row[name])) for name in names]
        yield {**json.loads(row["json"]), "key": row["__key__"], "images": images}


def colour_of(image: Image.Image) -> str:
    return COLOURS[int(np.asarray(image)[20, 30].argmax())]


def test_an_episode_is_read_by_the_conventions_of_flamingo(dataset: Path, tmp_path: Path) -> None:
    """An `<image>` for each image in its order, `<|endofchunk|>` after each example, then the
    query, whose answer stands apart."""
    exported = write(dataset, tmp_path / "out", samples_per_tar=20)
    found = list(episodes(tmp_path / "out" / "train" / "caption" / "03"))
    assert len(found) == exported.episodes["train", "caption", 3] > 40
    for one in found:
        *examples, query = one["text"].split("<|endofchunk|>")
        assert len(examples) == 3
        assert one["text"].count("<image>") == len(one["images"]) == len(set(one["sha256"])) == 4
        assert query == "<image>Output:"
        texts = [*(example.removeprefix("<image>Output: ") for example in examples), one["target"]]
        colours = [re.fullmatch(r"A (\w+) < image> number \d+\.", text)[1] for text in texts]  # type: ignore[index]
        assert colours == [colour_of(image) for image in one["images"]]
    assert not (tmp_path / "out" / ".images").exists()
    plain = list(episodes(tmp_path / "out" / "test" / "caption" / "00"))
    assert {one["text"] for one in plain} == {"<image>Output:"}


def test_examples_are_of_the_training_part_and_not_the_query(dataset: Path, tmp_path: Path) -> None:
    write(dataset, tmp_path / "out", shots=[8])
    for part in ("train", "valid", "test"):
        found = list(episodes(tmp_path / "out" / part / "caption" / "08"))
        assert found
        for one in found:
            *examples, query = one["sha256"]
            assert part_of(query) == part
            assert {part_of(digest) for digest in examples} == {"train"}
            assert query not in examples


def test_the_same_options_give_the_same_bytes_and_another_seed_others(
    dataset: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(dataset, tmp_path / name, seed=seed, queries=2)
    paths = sorted(one.relative_to(tmp_path / "one") for one in (tmp_path / "one").rglob("*.tar"))
    assert len(paths) == 6
    contents = {
        name: [(tmp_path / name / path).read_bytes() for path in paths]
        for name in ("one", "two", "three")
    }
    assert contents["one"] == contents["two"]
    assert contents["one"] != contents["three"]


def test_similar_images_are_chosen_by_a_model(dataset: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    write(
        dataset, tmp_path / "out", supports="similarity", embedding={"model": str(clip)}, shots=[2]
    )
    found = list(episodes(tmp_path / "out" / "train" / "caption" / "02"))
    colours = [[colour_of(image) for image in one["images"]] for one in found]
    assert all(len(set(own)) == 1 for own in colours)  # plain images of one colour are alike


def test_too_few_images_are_named_and_no_short_episode_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    exported = write(dataset, tmp_path / "out", shots=[2, 59])
    assert exported.episodes["train", "caption", 59] == 0
    assert any("train, caption" in line and "59 shots left out" in line
               for line in exported.warnings())  # fmt: skip
    assert not any((tmp_path / "out" / "train" / "caption" / "59").iterdir())


def test_copies_in_two_parts_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for number in range(60):  # other bytes, the same pixels
        image = Image.fromarray(np.full((16, 16, 3), 7, np.uint8))
        image.save(folder / f"{number:02d}.png", pnginfo=_note(number))
        (folder / f"{number:02d}.txt").write_text("A grey square.")
    build(folder, tmp_path / "dataset")
    with pytest.raises(UsageError, match="are one image in two parts: answers would leak"):
        write(tmp_path / "dataset", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _note(number: int) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("number", str(number))
    return info


def test_a_dataset_of_which_nothing_can_be_asked_is_an_error(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing can be asked"):
        write(dataset, tmp_path / "out", tasks=["tag"])
    with pytest.raises(ConfigError, match="no episode is of 'ocr'"):
        write(dataset, tmp_path / "out", tasks=["ocr"])
    with pytest.raises(ConfigError, match="belong together"):
        write(dataset, tmp_path / "out", supports="similarity")


def test_what_is_asked_follows_the_task() -> None:
    def text(task: str, words: str, label: str = "", score: float | None = None) -> Annotation:
        return Annotation(kind="text", task=task, text=words, label=label, score=score)

    annotations = [
        text("caption", "A cat\n on a mat."),
        text("caption", "Another."),
        text("tag", "cat", "cat", 0.4),
        text("tag", "kitten", "kitten", 0.6),
        text("transcript", "STOP"),
        Annotation(kind="region", task="object_detection", label="mat", box_xyxy=(0, 0, 1, 1)),
    ]
    shots = list(shots_of(7, annotations, ("caption", "tag", "transcript")))
    assert [one.text for one in shots] == [
        "<image>Output: A cat on a mat.<|endofchunk|>",
        "<image>Output: kitten<|endofchunk|>",
        "<image>Question: What is the text in the image? Answer: STOP<|endofchunk|>",
    ]
    assert shots[0].classes == {"cat", "kitten", "mat"}
