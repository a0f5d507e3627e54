"""The command `try`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.trial.table import image_table
from tests.building import DESCRIBED
from tests.pipelines.commands.test_tables import printed
from tests.pipelines.trial.conftest import (
    BRIGHT_ENOUGH,
    BRIGHTEST,
    DESCRIBE,
    TROUBLE,
    Command,
    Try,
    config_file,
)


def test_it_prints_a_table_for_each_image_and_writes_a_picture(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    done = command(BRIGHTEST, *images)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("object_detection" in line and "bright corner" in line for line in lines) == 2
    for key, size in (("cat", (640, 427)), ("cup_corner", (640, 512))):
        path = Path("out/try") / f"{key}.Brightest.png"
        assert f"picture  {path}" in lines
        with Image.open(tmp_path / path) as picture:
            assert picture.size == size
    assert lines[-1] == "2 images"


def test_it_prints_times_of_all_stages_and_memory(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    config = config_file(tmp_path / "run.yaml", specialists=DESCRIBED)
    done = command("describe", *images, "--config", config)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    [header] = [line for line in lines if "first image" in line]
    rows = [line.split("│") for line in lines[lines.index(header) + 2 :] if "│" in line]
    assert [row[0].strip() for row in rows] == ["bright", "describe"]
    assert all(cell.strip().endswith("s") for row in rows for cell in row[1:4])
    assert any(line.startswith("memory ") and "MiB at the peak" in line for line in lines)


def test_a_filter_has_its_verdicts_and_numbers_in_the_table(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    config = config_file(tmp_path / "run.yaml", specialists={"bright": {"use": BRIGHTEST}})
    done = command(BRIGHT_ENOUGH, images[0], "--config", config, "--set", "minimum=1")
    assert done.exit_code == 0, done.output
    assert "verdict" in done.stdout
    assert "too_dark" in done.stdout
    assert "brightness 0." in done.stdout
    [judging] = [line for line in done.stdout.splitlines() if line.startswith("judging ")]
    assert judging.endswith("s for each image, with writing it")


def test_annotations_that_a_filter_of_the_config_dropped_name_it(
    tried: Try, images: list[str]
) -> None:
    trial = tried(BRIGHTEST, images[:1])
    [image], stage = trial.images, trial.node
    assert "verdict" not in printed(image_table(image, stage))
    verdicts = [
        {"filter": "region_score", "keep": True, "reason": "", "measurement": []},
        {"filter": "nms", "keep": False, "reason": "nms_overlap", "measurement": []},
    ]
    rows = (*image.rows, {**image.rows[0], "kept": False, "verdicts": verdicts})
    lines = printed(image_table(replace(image, rows=rows), stage)).splitlines()
    assert [line.split("│")[-1].strip() for line in lines[-2:]] == ["kept", "nms: nms_overlap"]


def test_exit_code_1_and_the_traceback_where_an_image_failed(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    done = command(TROUBLE, *images, "--set", "key=cat")
    assert done.exit_code == 1
    assert "ValueError: this image is not to my taste" in done.stdout
    assert "tests/stages.py, line " in done.stdout
    assert done.stdout.splitlines()[-1] == "2 images, 1 failed"
    assert [path.name for path in (tmp_path / "out/try").iterdir()] == ["cup_corner.Trouble.png"]


def test_json_has_everything(command: Command, images: list[str], tmp_path: Path) -> None:
    done = command(TROUBLE, *images, "--set", "key=cat", "--output", "pictures", "--json")
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    cat, cup = printed["images"]
    assert (printed["stage"], printed["use"], printed["kind"]) == (
        "Trouble",
        TROUBLE,
        "specialist",
    )
    assert cat["failure"]["reason"] == "stage_failed"
    assert "not to my taste" in cat["failure"]["traceback"]
    assert (cat["picture"], cat["annotations"]) == (None, [])
    assert (cup["image"], cup["failure"]) == (images[1], None)
    assert cup["annotations"][0]["box_xyxy"] == [0, 0, 50, 40]
    assert (tmp_path / cup["picture"]).is_file()
    assert printed["peak_mib"] >= printed["base_mib"] > 0
    assert [len(cost["image_s"]) for cost in printed["costs"]] == [2]


def test_what_it_prints_as_json_can_be_given_to_the_next_stage(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    (tmp_path / "boxes.json").write_text(command(BRIGHTEST, *images, "--json").stdout)
    done = command(DESCRIBE, images[0], "--annotations", "boxes.json")
    assert done.exit_code == 0, done.output
    assert "A picture with a bright corner." in " ".join(done.stdout.split())


def test_an_image_without_annotations_is_named(command: Command, images: list[str]) -> None:
    done = command("tests.stages:Silent", images[0])
    assert f"{images[0]}: nothing found" in done.stdout


def test_a_caveat_is_a_warning(command: Command, images: list[str]) -> None:
    done = command("tests.stages:Doubtful", images[0])
    assert done.exit_code == 0
    assert "Doubtful has random weights: its annotations are worth nothing" in done.stderr


def test_it_leaves_nothing_but_pictures(
    command: Command, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    command(BRIGHTEST, images[0])
    assert list(scratch.iterdir()) == []
    assert [path.name for path in (tmp_path / "out/try").iterdir()] == ["cat.Brightest.png"]


def test_an_output_that_is_a_url_is_refused(command: Command, images: list[str]) -> None:
    done = command(BRIGHTEST, images[0], "--output", "s3://bucket/try")
    assert "is a URL" in str(done.exception)


def test_an_output_that_cannot_be_made_is_refused_before_a_stage_is_asked(
    command: Command, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("florilegium.pipelines.trial.trial.run_trial", None)
    done = command(BRIGHTEST, images[0], "--output", "taken")
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith("--output taken cannot be made (File exists)")


def test_options_of_a_source_that_are_not_used_are_a_warning(
    command: Command, images: list[str], tmp_path: Path
) -> None:
    source = {"kind": "parquet", "url": "/nowhere", "caption_column": "title"}
    config = config_file(tmp_path / "run.yaml", specialists=DESCRIBED, source=source)
    done = command("bright", images[0], "--config", config)
    assert "without caption_column of the config's source" in " ".join(done.stderr.split())
