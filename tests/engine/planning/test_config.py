from __future__ import annotations

import re
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from tests.configs import load_config

MINIMAL = "source: photos\noutput: out\nspecialists:\n  rapidocr:\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bare_url_a_mapping_and_a_list_are_all_sources(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert [source.url for source in config.source] == ["photos"]
    many = MINIMAL.replace("photos", "[a, {url: b, kind: folder}]")
    assert [source.url for source in load_config(write(tmp_path, many)).source] == ["a", "b"]


def test_a_dotted_override_reaches_into_stages_and_is_read_as_yaml(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, MINIMAL), overrides=["filters.nms.iou=0.6", "runner.workers=3"]
    )
    assert config.filters == {"nms": {"iou": 0.6}}
    assert config.runner.workers == 3


STAGES = MINIMAL + "  grabcut: {iterations: 2}\nfilters:\n  nms:\n  blacklist: {words: [cat]}\n"


def test_null_as_an_override_switches_a_stage_off(tmp_path: Path) -> None:
    off = ("specialists.grabcut=null", "filters.nms=", "filters.blacklist=~")
    config = load_config(write(tmp_path, STAGES), overrides=off)
    assert config.specialists == {"rapidocr": {}}
    assert config.filters == {}


def test_null_in_the_file_is_a_stage_with_its_defaults(tmp_path: Path) -> None:
    filters = load_config(write(tmp_path, STAGES)).filters
    assert filters == {"nms": {}, "blacklist": {"words": ["cat"]}}
    assert load_config(write(tmp_path, MINIMAL + "filters:\n")).filters == {}


def test_a_stage_that_was_switched_off_comes_back_with_its_defaults(tmp_path: Path) -> None:
    overrides = ["filters.blacklist=null", "filters.blacklist.case=true"]
    config = load_config(write(tmp_path, STAGES), overrides=overrides)
    assert config.filters["blacklist"] == {"case": True}


def test_null_as_an_override_of_a_plain_option_is_a_value(tmp_path: Path) -> None:
    text = STAGES + "runner: {workers: 3}\n"
    overrides = ["runner.workers=null", "filters.blacklist.words=null", "filters.nms.iou=null"]
    config = load_config(write(tmp_path, text), overrides=overrides)
    assert config.runner.workers is None
    assert config.filters == {"nms": {"iou": None}, "blacklist": {"words": None}}


@pytest.mark.parametrize("name", ["filters.nmss", "specialists.grabcat"])
def test_switching_off_what_is_not_there_names_the_nearest(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"not there; did you mean '(nms|grabcut)'"):
        load_config(write(tmp_path, STAGES), overrides=[f"{name}=null"])


def test_a_runner_may_be_a_word_and_still_be_overridden(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "runner: local\n")
    assert load_config(path).runner.kind == "local"
    assert load_config(path, overrides=["runner.kind=ray"]).runner.kind == "ray"


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL), changes={"source": "elsewhere"})
    assert config.source[0].url == "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "shard_sise: 3\n", "did you mean 'shard_size'"),
        (MINIMAL + "runner: {kind: ray, adress: auto}\n", "did you mean 'address'"),
        (
            MINIMAL.replace("photos", "{provides: [caption]}"),
            "give a `url`, or a `kind` that needs",
        ),
        (MINIMAL.replace("photos", "{url: a, brings: [caption]}"), "now called 'provides'"),
        (MINIMAL + "shard_size: 0\n", "shard_size"),
        (MINIMAL + "runner: spark\n", "runner"),
        ("output: out\nspecialists: {a: }\n", "'source' is missing"),
        ("source: [unclosed", "is not YAML"),
        ("- a list", "must hold a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_cure(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("override", ["nothing", "=3", "output.deeper=1", "a.b=[unclosed"])
def test_a_malformed_override_is_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_config(write(tmp_path, MINIMAL), overrides=[override])


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("max_pixels: 9", "write `limits: {max_pixels: 9}`"),
        ("allow_caveats: true", "now called 'allow_random_weights'"),
    ],
)
def test_an_old_key_is_an_error_that_names_the_new_one(
    tmp_path: Path, old: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(write(tmp_path, f"{MINIMAL}\n{old}\n"))
