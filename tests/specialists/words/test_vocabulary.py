from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.vocabulary import vocabulary_of

FILE = """
# Animals
cat
crane: crane bird,  bird with  long legs   # not the machine
  polar   bear
"""


def test_a_file_has_a_name_or_a_name_with_phrases_a_line(tmp_path: Path) -> None:
    (tmp_path / "animals.txt").write_text(FILE)
    vocabulary = vocabulary_of(str(tmp_path / "animals.txt"))
    assert dict(vocabulary.phrases) == {
        "cat": ("cat",),
        "crane": ("crane bird", "bird with long legs"),
        "polar bear": ("polar bear",),
    }
    assert vocabulary.names == ("cat", "crane", "polar bear")


def test_the_same_words_are_the_same_vocabulary_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "animals.txt").write_text("cat  # purrs\n\ndog: puppy\n")
    from_file = vocabulary_of(str(tmp_path / "animals.txt"))
    given = vocabulary_of({"cat": (), "dog": ("puppy",)})
    assert from_file == given
    assert from_file.digest == given.digest
    others = [("cat", "dog"), ("dog", "cat"), {"cat": ("dog", "puppy")}]
    assert len({given.digest, *(vocabulary_of(other).digest for other in others)}) == 4


def test_the_vocabulary_of_the_installation_can_be_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vocabulary = vocabulary_of("package://florilegium/configs/objects.txt")
    assert len(vocabulary.names) > 800
    assert vocabulary.phrases["crane"] == ("crane bird",)
    assert all(name == name.lower() for name in vocabulary.names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("no/such/file.txt", "there is no vocabulary 'no/such/file.txt', check the path"),
        ((), "is empty; give at least one name"),
        (("cat", " "), "' ' has an empty name or phrase"),
        ({"cat": ("puss", "")}, "'cat' has an empty name or phrase"),
        (("cat", "cat "), "'cat' is listed twice"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(names, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vocabulary_of(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "cannot read the vocabulary"),
        (b"# nothing\n", "is empty; give at least one name"),
        (b": mug", "'' has an empty name or phrase"),
        (b"cat\ndog\ncat: puss", "'cat' is listed twice"),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        vocabulary_of(str(tmp_path / "words.txt"))
