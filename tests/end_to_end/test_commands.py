"""The commands as a user calls them: what they print, and the code they exit with."""

from __future__ import annotations

import errno
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from florilegium.engine.planning.registry import stage_names
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, contents, shard_file
from tests.end_to_end.conftest import QUICKSTART, ROOT, Command

SMALL = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH}
Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def dataset(album: Path, tmp_path: Path) -> Path:
    """A small finished dataset, to be damaged."""
    folder = tmp_path / "album"
    shutil.copytree(album, folder)
    (folder / "empty.jpg").write_bytes(b"")
    build(folder, tmp_path / "out", shard_size=5, **SMALL)
    return tmp_path / "out"


def words(text: str) -> str:
    """Return a text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def test_help_takes_less_than_half_a_second_of_a_processor() -> None:
    command = [str(Path(sys.executable).with_name("florilegium")), "--help"]
    seconds = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))  # of children, in user and system mode
    assert min(seconds) < 0.5
    for name in ("build", "status", "verify", "why", "report", "stages"):
        assert name in done.stdout


def test_the_version_is_that_of_the_package(florilegium: Command) -> None:
    ended = florilegium("--version")
    assert (ended.code, ended.out) == (0, f"florilegium {version('florilegium')}\n")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "florilegium", "status", str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 2
    assert "holds no dataset" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_that_says_what_it_does(florilegium: Command, flag: str) -> None:
    ended = florilegium(flag)
    assert ended.code == 0
    assert "Build vision datasets" in ended.out
    for name in re.findall(r"^│ ([a-z][a-z0-9-]+) ", ended.out, re.MULTILINE):
        assert florilegium(name, flag).code == 0


def test_a_build_ends_with_0_and_its_totals(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    config = written(album, tmp_path / "out", **SMALL)
    ended = florilegium("build", config)
    assert ended.code == 0, ended.err
    assert "12 images = 12 samples + 0 dead letters" in words(ended.out)
    assert f"{tmp_path / 'out'}/report.html" in ended.out
    assert (tmp_path / "out" / "report.html").exists()


def test_one_image_is_no_images(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(album / "cat.jpg", tmp_path / "one")
    ended = florilegium("build", written(tmp_path / "one", tmp_path / "out"))
    assert "1 image = 1 sample + 0 dead letters" in ended.out
    for name in ("report.html", "README.md"):
        text = words((tmp_path / "out" / name).read_text(encoding="utf-8"))
        assert not re.search(r"(?<![\d.,])1 [a-z-]+s\b", text.partition("<h1>")[2] or text), name


def test_dead_letters_are_counted_and_no_failure(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    shutil.copytree(album, tmp_path / "album")
    (tmp_path / "album" / "cut.jpg").write_bytes((album / "cat.jpg").read_bytes()[:700])
    ended = florilegium("build", written(tmp_path / "album", tmp_path / "out"))
    assert ended.code == 0
    assert "13 images = 12 samples + 1 dead letter" in words(ended.out)


def test_images_that_are_taken_down_are_counted_apart(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("key:cat\nno entry\n")
    config = written(album, tmp_path / "out", takedown=str(listed), max_dead_letter_share=0)
    ended = florilegium("build", config)
    assert ended.code == 2
    assert f"takedown = '{listed}', line 2: 'no entry' is no entry" in words(ended.err)
    listed.write_text("key:cat\n")
    ended = florilegium("build", config)
    assert ended.code == 0, ended.err
    assert "12 images = 11 samples + 1 dead letter" in words(ended.out)
    assert "taken down: 1 image is on the takedown list" in words(ended.out)
    assert "taken_down" not in ended.out
    assert "takedowns/ has the receipt" in florilegium("why", str(tmp_path / "out"), "cat").out


def test_source_output_and_overrides_win_over_the_file(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    config = written(tmp_path / "absent", tmp_path / "unused", runner="ray", **SMALL)
    ended = florilegium(
        "build", config, "--source", album, "--output", tmp_path / "out", "--runner", "local",
        "--set", "shard_size=7", "--set", "filters.enough.minimum=0.9",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert [shard["samples"] for shard in manifest["shards"]] == [7, 5]
    minimums = [stage.get("config", {}).get("minimum") for stage in manifest["stages"].values()]
    assert 0.9 in minimums
    assert not (tmp_path / "unused").exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    holiday: Path, tmp_path: Path, florilegium: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ended = florilegium(
        "build", QUICKSTART, "--source", holiday, "--output", tmp_path / "out", "--dry-run"
    )
    assert ended.code == 0
    for name in yaml.safe_load(QUICKSTART.read_text())["specialists"]:
        assert name in ended.out
    assert "…" not in ended.out
    assert not (tmp_path / "out").exists()


def test_the_resolved_config_builds_the_same_again(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    assert florilegium("build", written(album, tmp_path / "out", **SMALL)).code == 0
    again = ("build", tmp_path / "out" / "run.yaml", "--output", tmp_path / "again")
    assert florilegium(*again).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "shard_sise=3"], "did you mean 'shard_size'"),
        (["--set", "specialists.rapid_ocr={}"], "did you mean 'rapidocr'"),
        (["--set", "specialists.bright.batch_sise=2"], "did you mean 'batch_size'"),
        (["--set", "nonsense"], "not of the form a.b=c"),
        (["--runner", "spark"], "runner.kind"),
        (["--source", "/there/is/no/such/folder"], "/there/is/no/such/folder"),
        (["--source", "s4://bucket"], "s4"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_wrong_usage_ends_with_2_and_the_cure_before_anything_is_written(
    album: Path, tmp_path: Path, florilegium: Command, written: Write, arguments: Any, message: str
) -> None:
    found = florilegium("build", written(album, tmp_path / "out"), *arguments)
    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "absent.yaml"],
        ["status", "no_dataset"],
        ["why", "no_dataset", "x"],
        ["report", "no_dataset"],
        ["nonsense"],
        ["build"],
    ],
)
def test_a_command_about_nothing_ends_with_2(
    florilegium: Command, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = florilegium(*arguments)
    assert found.code == 2
    assert found.err
    assert "Traceback" not in found.err


@pytest.fixture
def wanting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An installed stage that wants packages and a model: a dry run looks at no other."""
    info = tmp_path / "site" / "wanting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wanting\nVersion: 1.0\n")
    points = "[florilegium.stages]\nwanting = tests.engine.planning.test_graph:Wanting\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return {"wanting": {}}


def test_a_dry_run_tells_everything_that_is_in_the_way(
    tmp_path: Path, florilegium: Command, written: Write, wanting: dict[str, Any]
) -> None:
    config = written(tmp_path / "nowhere", tmp_path / "out", specialists=wanting)
    found = florilegium("build", config, "--dry-run")
    assert found.code == 2
    assert "not here yet: hf download someone/this (size unknown)" in words(found.out)
    assert "all of them: pip install 'florilegium[online,starter]' x" in found.err
    assert f"{tmp_path / 'nowhere'} does not exist" in words(found.err)


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="S3 can be reached here")
def test_storage_that_needs_a_package_is_told_with_what_the_stages_lack(
    album: Path, florilegium: Command, written: Write, wanting: dict[str, Any]
) -> None:
    config = written(album, "s3://bucket/out", specialists=wanting)  # type: ignore[arg-type]
    for arguments in ([], ["--dry-run"]):
        found = florilegium("build", config, *arguments)
        assert found.code == 2
        assert "s3://bucket/out cannot be reached" in found.err
        assert "all of them: pip install 'florilegium[online,s3,starter]' x" in found.err


def test_a_failed_run_ends_with_1_and_the_reason(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    found = florilegium("build", written(album, tmp_path / "out"))
    assert found.code == 1
    assert str(tmp_path / "out") in found.err
    assert "Traceback" not in found.err


def test_too_many_failures_stop_the_run_with_a_clear_word(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    folder = tmp_path / "album"
    shutil.copytree(album, folder)
    for number in range(100):
        (folder / f"empty_{number}.jpg").write_bytes(b"")
    config = written(folder, tmp_path / "out", shard_size=60)
    found = florilegium("build", config)
    assert found.code == 1
    assert (
        "100 of 112 images failed (empty_file 100), more than max_dead_letter_share = 0.1"
        in words(found.err)
    )
    assert "empty_0, source: empty_file: " in words(found.err)
    assert florilegium("build", config, "--max-dead-letter-share", "0.89").code == 1
    assert florilegium("build", config, "--max-dead-letter-share", "0.9").code == 0


@pytest.mark.parametrize(("share", "code"), [("0", 1), ("0.08", 1), ("0.09", 0)])
def test_the_exit_code_counts_losses_from_the_first_input(
    album: Path, tmp_path: Path, florilegium: Command, written: Write, share: str, code: int
) -> None:
    trouble = {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}
    config = written(album, tmp_path / "out", specialists={"trouble": trouble})
    found = florilegium("build", config, "--max-dead-letter-share", share)
    assert found.code == code
    assert ("1 of 12 images failed" in found.err) == bool(code)
    assert "11 samples + 1 dead" in words(found.out)
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_build_of_which_nothing_is_left_says_why_and_ends_with_1(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    shutil.copy(album / "cup.jpg", folder)
    trouble = {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}
    config = written(folder, tmp_path / "out", specialists={"trouble": trouble})
    found = florilegium("build", config, "--max-dead-letter-share", "1")
    assert found.code == 1
    assert "too_ugly 1: cup, trouble: this image is not to my taste" in words(found.out)
    assert "error the only image failed (too_ugly 1): " in words(found.err)
    assert "cup, trouble: too_ugly: this image is not to my taste" in words(found.err)
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_plan_that_could_not_be_saved_is_wrong_usage(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    config = written(album, tmp_path / "out")
    found = florilegium("plan", config, "--save", tmp_path / "absent" / "plan.yaml")
    assert found.code == 2
    absent = tmp_path / "absent"
    assert f"the folder {absent} for the plan does not exist" in words(found.err)
    assert not (tmp_path / "out").exists()


def test_a_plan_needs_one_free_cpu(
    album: Path, tmp_path: Path, written: Write, florilegium: Command, ray_cluster: None
) -> None:
    from ray.util import placement_group, remove_placement_group

    taken = placement_group([{"CPU": 1}])
    assert taken.wait(60)
    config = written(album, tmp_path / "out", runner={"kind": "ray", "workers": 1})
    done = florilegium("plan", config, "--samples", "4")
    remove_placement_group(taken)
    assert done.code == 0, done.err
    assert "bright" in done.out


def test_failed_images_are_tried_again_when_asked(
    album: Path, tmp_path: Path, florilegium: Command, written: Write
) -> None:
    moody = {"use": "tests.stages:Moody", "key": "cup", "allowed": str(tmp_path / "allowed")}
    config = written(album, tmp_path / "out", specialists={"moody": moody})
    assert "11 samples + 1 dead" in words(florilegium("build", config).out)
    (tmp_path / "allowed").touch()
    assert "11 samples + 1 dead" in words(florilegium("build", config).out)
    assert "12 samples + 0 dead" in words(florilegium("build", config, "--retry-dead-letters").out)


def test_status_counts_what_is_there(dataset: Path, florilegium: Command) -> None:
    ended = florilegium("status", dataset, "--json")
    totals = json.loads((dataset / "manifest.json").read_bytes())["totals"]
    assert ended.code == 0
    assert json.loads(ended.out) == {
        "is_finished": True,
        "held_back": [],
        "shards": 3,
        "shards_done": 3,
        "samples": 12,
        "dead_letters": 1,
        "annotations_kept": totals["annotations_kept"],
        "annotations_dropped": totals["annotations_dropped"],
        "slices": [],
    }
    assert "shards done" in florilegium("status", dataset).out


def test_status_of_an_unfinished_dataset_says_so(dataset: Path, florilegium: Command) -> None:
    (dataset / "manifest.json").unlink()
    shard_file(dataset, "_stats.json", 1).unlink()
    found = json.loads(florilegium("status", dataset, "--json").out)
    assert (found["is_finished"], found["shards"], found["shards_done"]) == (False, 3, 2)


def test_a_dataset_that_is_being_refreshed_is_whole_and_its_refresh_is_not_finished(
    album: Path, dataset: Path, tmp_path: Path, florilegium: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A refresh that is killed half way leaves the version before, and no mixture of both."""
    replace = os.replace

    def stop_at_the_second_shard(source: str, target: str) -> None:
        if re.search(r"000001-\w+\.tar$", target):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", stop_at_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "album", dataset, shard_size=5, specialists=DESCRIBED)
    found = json.loads(florilegium("status", dataset, "--json").out)
    assert found["is_finished"] is False
    assert florilegium("verify", dataset).code == 0


def change_a_byte(path: Path, place: int = 5000) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)


def edit_manifest(dataset: Path, change: Callable[[Any], None]) -> None:
    path = dataset / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


Damage = Callable[[Path], None]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "a byte of a tar": (
        lambda d: change_a_byte(shard_file(d, ".tar")),
        r"shards/000000-\w+\.tar: its digest or size differs",
    ),
    "a byte of a parquet": (
        lambda d: change_a_byte(shard_file(d, ".parquet", 1)),
        r"shards/000001-\w+\.parquet: its digest or size differs",
    ),
    "the footer of a parquet": (
        lambda d: change_a_byte(shard_file(d, ".parquet", 1), -30),
        r"shards/000001-\w+\.parquet: its digest or size differs",
    ),
    "a cut tar": (
        lambda d: os.truncate(shard_file(d, ".tar", 2), 700),
        r"shards/000002-\w+\.tar: its digest or size differs",
    ),
    "a tar that is gone": (
        lambda d: shard_file(d, ".tar").unlink(),
        r"shards/000000-\w+\.tar is missing",
    ),
    "a parquet that is gone": (
        lambda d: shard_file(d, ".parquet", 1).unlink(),
        r"shards/000001-\w+\.parquet is missing",
    ),
    "statistics that are gone": (
        lambda d: shard_file(d, "_stats.json", 1).unlink(),
        r"shards/000001-\w+_stats\.json is missing",
    ),
    "statistics that are none": (
        lambda d: shard_file(d, "_stats.json", 1).write_text("{}"),
        r"samples is 12, the shards add up to 8",
    ),
    "a foreign file": (
        lambda d: (d / "shards/holiday.jpg").touch(),
        r"shards/holiday\.jpg is not in the manifest",
    ),
    "a foreign shard": (
        lambda d: shutil.copy(shard_file(d, ".tar"), d / "shards/000009-0123456789abcdef.tar"),
        r"shards/000009-\w+\.tar is not in the manifest",
    ),
    "no manifest": (lambda d: (d / "manifest.json").unlink(), r"manifest\.json is missing"),
    "a manifest that is no json": (
        lambda d: (d / "manifest.json").write_text("{"),
        r"manifest\.json is damaged: it is not JSON",
    ),
    "a manifest that is something else": (
        lambda d: (d / "manifest.json").write_text("[]"),
        r"manifest\.json",
    ),
    "a total": (
        lambda d: edit_manifest(d, lambda m: m["totals"].update(samples=99)),
        r"samples is 99, the shards add up to 12",
    ),
    "a count of a shard": (
        lambda d: edit_manifest(d, lambda m: m["shards"][0].update(samples=4)),
        r"000000-\w+\.tar has 5 samples, the manifest 4",
    ),
    "a digest": (
        lambda d: edit_manifest(d, lambda m: m["shards"][0]["tar"].update(sha256="0" * 64)),
        r"shards/000000-\w+\.tar: its digest or size differs",
    ),
    "a shard that the manifest forgot": (
        lambda d: edit_manifest(d, lambda m: m["shards"].pop()),
        r"000002-\w+\.tar is not in the manifest",
    ),
    "dead letters that are gone": (
        lambda d: (d / "dead_letters.parquet").unlink(),
        r"dead_letters\.parquet",
    ),
    "dead letters that are damaged": (
        lambda d: (d / "dead_letters.parquet").write_bytes(b"PAR1"),
        r"dead_letters\.parquet",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_names_every_damage_and_ends_with_1(
    dataset: Path, florilegium: Command, name: str
) -> None:
    assert florilegium("verify", dataset).code == 0
    damage, message = DAMAGES[name]
    damage(dataset)
    found = florilegium("verify", dataset)
    assert found.code == 1
    assert re.search(message, found.err), found.err
    assert "Traceback" not in found.err


def test_a_build_goes_on_where_no_process_can_be_started_ahead(
    album: Path,
    tmp_path: Path,
    written: Write,
    florilegium: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", refused)
    ended = florilegium("build", written(album, tmp_path / "out", runner="local"))
    assert (ended.code, "asked: bright 12" in ended.err + ended.out) == (0, True)


@pytest.mark.parametrize("name", ["a tar that is gone", "a parquet that is gone", "a foreign shard",
                                  "statistics that are gone", "statistics that are none",
                                  "no manifest", "a total", "dead letters that are gone",
                                  "a manifest that is something else"])  # fmt: skip
def test_a_rerun_mends_what_is_missing(
    dataset: Path, tmp_path: Path, florilegium: Command, name: str
) -> None:
    before = contents(dataset)
    DAMAGES[name][0](dataset)
    build(tmp_path / "album", dataset, shard_size=5, **SMALL)
    assert florilegium("verify", dataset).code == 0
    assert contents(dataset) == before


def test_what_a_killed_writer_left_is_swept_away_by_the_rerun(
    dataset: Path, tmp_path: Path, florilegium: Command
) -> None:
    (dataset / "shards" / ".0123456789abcdef.tmp").write_bytes(b"half")
    build(tmp_path / "album", dataset, shard_size=5, **SMALL)
    assert florilegium("verify", dataset).code == 0


def test_why_tells_what_was_said_and_which_verdict_kept_or_dropped_it(
    dataset: Path, florilegium: Command
) -> None:
    rows = pq.read_table(shard_file(dataset, ".parquet")).to_pylist()
    dropped = next(row for row in rows if not row["kept"] and row["task"] == "object_detection")
    kept = next(row for row in rows if row["kept"] and row["task"] == "object_detection")
    ended = florilegium("why", dataset, dropped["key"])
    assert ended.code == 0
    assert dropped["id"] in ended.out
    assert re.search(r"dropped bright corner .*score 0\.\d+ .*by bright", ended.out)
    assert re.search(r"enough: too_dark +brightness 0\.\d+", ended.out)
    assert "lineage: parent_dropped" in ended.out
    ended = florilegium("why", dataset, kept["key"])
    assert re.search(r"kept +bright corner", ended.out)
    assert re.search(r"enough: keep +brightness 0\.\d+", ended.out)


def test_why_tells_of_a_dead_letter(dataset: Path, florilegium: Command) -> None:
    ended = florilegium("why", dataset, "empty")
    assert ended.code == 0
    assert "source: empty_file: the file has no bytes" in ended.out


def test_why_of_an_unknown_key_names_the_nearest(dataset: Path, florilegium: Command) -> None:
    ended = florilegium("why", dataset, "motorcycel")
    assert ended.code == 2
    assert "did you mean 'motorcycle'" in ended.err


def test_why_knows_an_image_about_which_nothing_was_said(
    album: Path, tmp_path: Path, florilegium: Command
) -> None:
    build(album, tmp_path / "out", specialists={"silent": {"use": "tests.stages:Silent"}})
    ended = florilegium("why", tmp_path / "out", "cup")
    assert ended.code == 0
    assert "it has no annotations" in ended.out


def test_a_real_dataset_explains_itself(quickstart: Path, florilegium: Command) -> None:
    ended = florilegium("why", quickstart, "cat")
    assert ended.code == 0
    for word in ("imagenet_cam", "region_score: ", "nms: ", "text_filter: ", "object_detection"):
        assert word in ended.out, word


def test_a_report_is_drawn_again(quickstart: Path, tmp_path: Path, florilegium: Command) -> None:
    shutil.copytree(quickstart, tmp_path / "out", ignore=shutil.ignore_patterns("report.html"))
    ended = florilegium("report", tmp_path / "out")
    assert ended.code == 0
    assert str(tmp_path / "out" / "report.html") in ended.out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page == (quickstart / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert not re.search(r"""(src|href)=["']https?://[^"']+\.(js|css|png|jpg)""", page)


def test_stages_lists_all_that_are_installed(
    florilegium: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = florilegium("stages")
    assert ended.code == 0
    facts = ("filter", "open_vocabulary_detection", "one of 3 tasks", "14 tasks -> verdicts")
    for word in (*stage_names(), *facts):
        assert word in ended.out, word


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_an_interrupt_ends_cleanly_says_how_to_resume_and_a_rerun_completes(
    album: Path, tmp_path: Path, written: Write, started: Start, florilegium: Command, kind: str
) -> None:
    log, pipe = tmp_path / "log", tmp_path / "pipe"
    reached, go_on = tmp_path / "pipe.reached", tmp_path / "pipe.go_on"
    os.mkfifo(reached)
    os.mkfifo(go_on)
    waiting = {"use": "tests.end_to_end.waiting:Waiting", "key": "cup", "pipe": str(pipe),
               "log": str(log), "batch_size": 1}  # fmt: skip
    keys = {"specialists": {"waiting": waiting}, "shard_size": 2}
    config = written(album, tmp_path / "out", **keys)
    process = started("build", config, "--runner", kind, "--set", "runner.workers=1")
    worker = int(reached.read_text())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert worker != process.pid
    assert process.returncode == 130, err
    assert "run the same command" in err
    assert "resume" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "manifest.json").exists()
    seen = log.read_text().split()
    assert len(seen) < 12
    reached.unlink()
    assert florilegium("build", config).code == 0
    assert florilegium("verify", tmp_path / "out").code == 0
    again = log.read_text().split()[len(seen) :]
    assert len(again) < 12  # what was published is not done again
    build(album, tmp_path / "reference", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


def test_a_second_build_into_one_output_ends_with_3_and_names_the_first(
    album: Path, tmp_path: Path, written: Write, started: Start, florilegium: Command
) -> None:
    pipe, log = tmp_path / "pipe", tmp_path / "log"
    reached, go_on = tmp_path / "pipe.reached", tmp_path / "pipe.go_on"
    os.mkfifo(reached)
    os.mkfifo(go_on)
    waiting = {"use": "tests.end_to_end.waiting:Waiting", "key": "cup", "pipe": str(pipe),
               "log": str(log), "batch_size": 1}  # fmt: skip
    config = written(album, tmp_path / "out", specialists={"waiting": waiting})
    first = started("build", config, "--runner", "local")
    reached.read_text()
    ended = florilegium("build", config, "--runner", "local")
    assert ended.code == 3
    assert f"is being written by {getpass.getuser()} on " in ended.err
    assert f"process {first.pid}" in ended.err
    assert florilegium("clean", tmp_path / "out").code == 2, "there is no dataset yet"
    go_on.write_text("")
    out, err = first.communicate(timeout=60)
    assert first.returncode == 0, (out, err)
    assert florilegium("verify", tmp_path / "out").code == 0


def test_another_source_is_refused_unless_it_may_replace(
    album: Path, tmp_path: Path, written: Write, florilegium: Command
) -> None:
    build(album, tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out")
    (tmp_path / "other").mkdir()
    shutil.copy(album / "cat.jpg", tmp_path / "other")
    config = written(tmp_path / "other", tmp_path / "out", **SMALL)
    ended = florilegium("build", config, "--runner", "local")
    assert ended.code == 2
    assert "--replace" in ended.err
    assert str(album) in ended.err
    assert contents(tmp_path / "out") == before
    ended = florilegium("build", config, "--runner", "local", "--replace")
    assert (ended.code, "1 image = 1 sample + 0 dead letters" in ended.out) == (0, True)


def test_clean_says_how_much_it_deletes(album: Path, tmp_path: Path, florilegium: Command) -> None:
    build(album, tmp_path / "out", specialists={"other": {"use": "tests.stages:Brightest"}})
    build(album, tmp_path / "out", **SMALL)
    ended = florilegium("clean", tmp_path / "out", "--dry-run")
    assert re.search(r"would delete 1 file of 1 stage, \d+\.\d MB; \d+ files are needed", ended.out)
    ended = florilegium("clean", tmp_path / "out")
    assert "deleted 1 file of 1 stage" in ended.out
    assert "deleted 0 files of 0 stages" in florilegium("clean", tmp_path / "out").out
