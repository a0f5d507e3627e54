"""YAML that grows, runs code or hides a value is refused in one sentence that names the line."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.planning.config import load_document
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.safe_yaml import MAX_BYTES, MAX_DEPTH, read_yaml
from florilegium.pipelines.dataset.clean import clean
from tests.building import build
from tests.configs import load_config

SCREEN = 24 * 80


def nine_times(form: str) -> str:
    """Return aliases that stand for nine of the one before, twelve times over."""
    names = "abcdefghijklm"
    lines = (
        f"{name}: &{name} {form}".replace("ALIASES", ", ".join([f"*{earlier}"] * 9))
        for earlier, name in pairwise(names)
    )
    return "a: &a {k: 1}\n" + "\n".join(lines)


REFUSED = {
    "laughs": (nine_times("[ALIASES]"), "line 6: that is more than 100000 values"),
    "laughs in merges": (nine_times("{<<: [ALIASES]}"), "more than 100000 values"),
    "many aliases": (
        f"a: &a [{'1, ' * 99}]\nb: [" + "*a, " * 1000 + "]",
        "more than 100000 values",
    ),
    "itself": ("a: &a [*a]", "is within its own anchor"),
    "a mapping in itself": ("a: &a {b: *a}", "is within its own anchor"),
    "deep": ("[" * 5000, f"over {MAX_DEPTH} deep"),
    "deep mappings": ("{a: " * 5000, f"over {MAX_DEPTH} deep"),
    "deep blocks": ("\n".join(" " * depth + "a:" for depth in range(100)), "line 64"),
    "deep by aliases": (
        "\n".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 1}]" for n in range(200)),
        f"over {MAX_DEPTH} deep",
    ),
    "twice": ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there already, in line 1"),
    "twice within": ("x:\n  a: 1\n  'a': 2", "line 3: the key 'a' is there already, in line 2"),
    "a number as key": ("b: 1\n1: 2", "line 2: a key '1' is no text"),
    "a word that means true": ("on: 2", "a key 'on' is no text"),
    "nothing as key": ("~: 2", "a key '~' is no text"),
    "a list as key": ("? [a]\n: 2", "a key is no text"),
    "base 60": ("a: 1:30", "'1:30' is a number to the base of 60"),
    "base 60 with a point": ("a: -1:30.5", "to the base of 60"),
    "base 60 by tag": ("a: !!int '1:30'", "to the base of 60"),
    "base 8": ("a: [1, 010]", "'010' is a number to the base of 8"),
    "base 8, negative": ("a: -0_7", "to the base of 8"),
    "NUL": ('a: "x\\0"', r"the text 'x\x00' has NUL"),
    "NUL in a key": ('"x\\0": 1', "has NUL"),
    "half of a character": ('a: "\\ud800"', "invalid Unicode character escape code"),
    "code": ("a: !!python/object/apply:os.system [id]", "the tag '!!python/object/apply:os.sys"),
    "a name": ("a: !!python/name:os.system", "the tag '!!python/name:os.system'"),
    "a tag": ("a: !own 1", "the tag '!own' means nothing"),
    "a set": ("a: !!set {b}", "the tag '!!set'"),
    "binary": ("a: !!binary aGk=", "the tag '!!binary'"),
    "a date by tag": ("a: !!timestamp 2024-01-01", "the tag '!!timestamp'"),
    "digits": ("a: " + "9" * 5000, "is too long"),
    "hexadecimal": ("a: 0x" + "f" * 5000, "is too long"),
    "sexagesimal": ("a: " + ":".join(["59"] * 500), "is too long"),
    "a float of digits": ("a: " + "9" * 5000 + ".0", "is too long"),
    "65 bits": ("a: 18446744073709551616", "has over 64 bits"),
    "no number": ("a: !!int ''", "is not YAML"),
    "no truth": ("a: !!bool maybe", "is not YAML"),
    "control": ("a: \x1b]0;pwn\x07", "is not YAML"),
    "null byte": ("a: \0", "is not YAML"),
    "two documents": ("a: 1\n---\nb: 2", "line 2: expected a single document"),
    "an unknown alias": ("a: *nowhere", "line 1: found undefined alias"),
    "a long key twice": (
        "? " + "x" * 5000 + "\n: 1\n? " + "x" * 5000 + "\n: 2",
        "is there already",
    ),
    "a long tag": ("a: !" + "x" * 5000 + " 1", "means nothing"),
    "a long alias": ("a: *" + "x" * 5000, "undefined alias"),
    "too much": ("a: " + "x" * MAX_BYTES, f"more than {MAX_BYTES} bytes"),
}


@pytest.mark.attack("configs")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_config_is_refused(name: str) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(ConfigError) as refused:
        read_yaml(text.encode(), where="run.yaml")
    assert reason in str(refused.value)
    assert str(refused.value).startswith("run.yaml")
    assert len(str(refused.value)) < SCREEN
    assert str(refused.value).isprintable(), "one line that no terminal obeys"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [1, 0x1f, 1.5, .inf, true, null, word, 'it', 2024-01-01]",
         [1, 31, 1.5, float("inf"), True, None, "word", "it", "2024-01-01"]),
        ("b: &b {x: 1, y: 2}\na: {<<: *b, x: 3}", {"x": 3, "y": 2}),
        ("a: &a [1]\nb: *a", [1]),
        ("a: -9223372036854775808", -(2**63)),
    ],
)  # fmt: skip
def test_what_configs_are_made_of_is_read(text: str, value: Any) -> None:
    assert read_yaml(text.encode(), where="run.yaml")["a"] == value


@pytest.mark.attack("configs")
def test_a_config_may_not_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than"):
        load_document(Path("/dev/zero"))
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_document(tmp_path)
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_document(Path("a\0b"))


CONFIG = "source: photos\noutput: out\nspecialists:\n  rapidocr:\n"


@pytest.mark.attack("configs")
@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("source=null", "source = null: give a URL or a path, a mapping with `url`"),
        ("source=[null]", "give a URL or a path, a mapping with `url`, or a list of those"),
        ("source=3", "give a URL or a path"),
        ("source={url: null}", "source.0.url = null: give a text"),
        ("source=[]", "source = []: give at least 1"),
        ("output=null", "output = null: give a text"),
        ("runner=null", "runner = null: give a mapping"),
        ("shard_size=many", "shard_size = 'many': give a whole number"),
        ("specialists.rapidocr=3", "specialists.rapidocr = 3: give a mapping"),
        ("images=gif", "images = 'gif': it should be 'jpg', 'png' or 'original'"),
        ("images=" + "x" * 9000, "characters): it should be 'jpg'"),
        ("x" * 9000 + "=1", "unknown key 'xxx"),
        ("specialists." + "x" * 9000 + "=1", "is no name"),
        ("a.=1", "is not of the form"),
        (".".join("a" * 500) + "=1", "is not of the form"),
        ("a=" + "[" * 5000, "deep in each other"),
        ("a=!!python/name:os.system", "means nothing in a config"),
        ("images=\x1b[31m", "is not YAML"),
        ("shard_size=" + "9" * 5000, "is too long"),
    ],
)
def test_an_override_is_refused_in_a_sentence(tmp_path: Path, override: str, reason: str) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "run.yaml", overrides=[override])
    assert reason in str(refused.value)
    assert "Input should" not in str(refused.value)
    assert len(str(refused.value)) < SCREEN
    assert str(refused.value).isprintable()


@pytest.mark.attack("configs")
def test_a_thousand_mistakes_fit_on_a_screen(tmp_path: Path) -> None:
    mistakes = "".join(f"wrong{number}: 1\n" for number in range(1000))
    (tmp_path / "run.yaml").write_text(CONFIG + mistakes)
    with pytest.raises(ConfigError, match="and 992 more mistakes") as refused:
        load_config(tmp_path / "run.yaml")
    assert len(str(refused.value)) < SCREEN


@pytest.mark.attack("configs")
def test_the_config_of_a_dataset_and_a_plan_are_read_with_the_same_care(
    album: Path, tmp_path: Path
) -> None:
    bomb = nine_times("[ALIASES]")
    (tmp_path / "run.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text(bomb)
    with pytest.raises(ConfigError, match=r"plan\.yaml, line 6: that is more"):
        load_document(tmp_path / "run.yaml", plan=tmp_path / "plan.yaml")
    build(album, tmp_path / "out")
    (tmp_path / "out" / "run.yaml").write_text(bomb)
    with pytest.raises(StorageError, match=r"run\.yaml, line 6: that is more"):
        clean(Folder(str(tmp_path / "out")))


def test_every_config_that_comes_along_is_read(tmp_path: Path) -> None:
    configs = Path(__file__).parents[3] / "configs"
    for path in configs.glob("*.yaml"):
        assert load_document(path) == yaml.safe_load(path.read_text()), os.fspath(path)
