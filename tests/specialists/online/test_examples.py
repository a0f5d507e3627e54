from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.specialists.online.examples import MAX_EXAMPLES, read_examples
from tests.checkpoints.few_shot_caption import write_examples

GOOD = {"image": "images/0.png", "task": "caption", "text": "Noise."}


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return write_examples(tmp_path / "examples", count=6)


def with_line(path: Path, line: str | dict[str, Any]) -> str:
    text = line if isinstance(line, str) else json.dumps(line)
    path.write_text(path.read_text(encoding="utf-8") + text + "\n", encoding="utf-8")
    return str(path)


def sample(sha256: str) -> Sample:
    return Sample(key="it", width=9, height=9, picture=Picture(b""), sha256=sha256)


def test_examples_know_their_images(jsonl: Path) -> None:
    examples = read_examples(str(jsonl)).of("detailed_caption")
    assert [one.text for one in examples] == [f"Noise {number}." for number in range(6)]
    assert [(one.width, one.height) for one in examples][:2] == [(32, 24), (32, 25)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**GOOD, "image": "../../secret.png"}, "lies outside the folder"),
        ({**GOOD, "image": "/etc/passwd"}, "lies outside the folder"),
        ({**GOOD, "image": "link.png"}, "lies outside the folder"),
        ({**GOOD, "image": "images/9.png"}, "line 13: .* cannot be read"),
        ({**GOOD, "image": "images"}, "cannot be read"),
        ({**GOOD, "image": "a\0b"}, "is not of the form"),
        ({**GOOD, "image": "examples.jsonl"}, "cannot be used"),
        ({**GOOD, "task": "captoin"}, "did you mean 'caption'"),
        ({**GOOD, "text": " \n"}, "is not of the form"),
        ({**GOOD, "text": 7}, "is not of the form"),
        ({**GOOD, "text": "x" * 4001}, "at most 4000"),
        ("[1]", "is not of the form"),
        ("{", "is not of the form"),
        ("\n".join([json.dumps(GOOD)] * MAX_EXAMPLES), "more than 400"),
    ],
)
def test_an_invalid_example_is_named(jsonl: Path, line: Any, message: str) -> None:
    (jsonl.parent / "link.png").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match=message):
        read_examples(with_line(jsonl, line))


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_examples_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="has no example"):
        read_examples(str(path))


def test_a_file_must_be_given_and_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="examples is empty"):
        read_examples("")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_examples(str(tmp_path / "none.jsonl"))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(ConfigError, match="at most"):
        read_examples(str(path))


def test_the_same_image_gets_the_same_examples_and_another_seed_others(jsonl: Path) -> None:
    examples = read_examples(str(jsonl))

    def chosen(sha256: str, seed: int = 0) -> list[str]:
        found = examples.chosen(sample(sha256), "detailed_caption", 2, seed)
        return [one.text for one in found]

    images = [f"{number:x}" for number in range(30)]
    assert [chosen(one) for one in images] == [chosen(one) for one in images]
    assert [chosen(one) for one in images] != [chosen(one, 1) for one in images]
    assert {text for one in images for text in chosen(one)} == {f"Noise {n}." for n in range(6)}


def test_a_further_example_changes_a_choice_only_by_its_own_rank(jsonl: Path) -> None:
    before = read_examples(str(jsonl))
    new = {**GOOD, "task": "detailed_caption", "text": "New."}
    after = read_examples(with_line(jsonl, new))
    for number in range(20):
        arguments = (sample(f"{number:x}"), "detailed_caption", 2, 0)
        old = [one.text for one in before.chosen(*arguments)]
        now = [one.text for one in after.chosen(*arguments)]
        assert now == old or "New." in now


def test_an_image_is_never_its_own_example(jsonl: Path) -> None:
    examples = read_examples(str(jsonl))
    own, *_ = examples.examples
    chosen = examples.chosen(sample(own.sha256), "detailed_caption", 6, 0)
    assert len(chosen) == 5
    assert own.sha256 not in {one.sha256 for one in chosen}


def test_the_digest_is_of_content_not_of_places_or_order(jsonl: Path, tmp_path: Path) -> None:
    first = read_examples(str(jsonl)).digest
    moved = Path(shutil.copytree(jsonl.parent, tmp_path / "moved")) / jsonl.name
    lines = moved.read_text(encoding="utf-8").splitlines(keepends=True)
    moved.write_text("".join(reversed(lines)), encoding="utf-8")
    assert read_examples(str(moved)).digest == first
    shutil.copy(moved.parent / "images" / "1.png", moved.parent / "images" / "0.png")
    assert read_examples(str(moved)).digest != first
    assert read_examples(with_line(jsonl, GOOD)).digest != first
