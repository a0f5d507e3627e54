"""A dataset that is built in slices is the one that a single build makes, whatever happens."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import (
    ConfigError,
    OutputInUse,
    RunError,
    SampleError,
    StorageError,
    UsageError,
)
from florilegium.engine.core.sample import Sample
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.planning.config import LAYERS
from florilegium.engine.planning.slices import read_division
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.results.state import STATE
from florilegium.engine.results.takedowns import TAKEDOWNS, read_receipts
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION, LEASES, PARTS, writing, writing_part
from florilegium.pipelines.build import build_dataset, drop_slices, finish_slices
from florilegium.pipelines.dataset.clean import clean
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.telemetry.progress_file import PROGRESS
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import (
    BRIGHT_ENOUGH,
    BRIGHTEST,
    build,
    finished,
    one_slice,
    slice_run,
)
from tests.end_to_end.dying import context, run_and_die
from tests.stages import Moody


def files(output: object) -> dict[str, bytes]:
    """Return the bytes of all files of a dataset, but for what has times, leases and paths."""
    folder = Folder(str(output))
    beside = {"run.log", "run.yaml", LEASES, LAYERS, SHARDS, TAKEDOWNS, PARTS, PROGRESS, STATE}
    names = set(folder.names()) - beside
    inner = [f"{LAYERS}/{one}" for one in folder.names(LAYERS)]
    for one in (SHARDS, TAKEDOWNS, *inner):
        names |= {f"{one}/{name}" for name in folder.names(one)}
    return {name: folder.read(name) or b"" for name in names}


@pytest.fixture(scope="module")
def photos(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs, for six shards, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    shutil.copytree(album, folder)
    (folder / "notes.xyz").write_text("not an image")
    return folder


@pytest.fixture
def changing(photos: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.fixture(scope="module")
def reference(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one build of them."""
    output = tmp_path_factory.mktemp("reference") / "out"
    build_dataset(slice_run(photos, output))
    return files(output)


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"memory://{uuid4().hex}"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_slices_in_any_order_and_some_twice_give_the_bytes_of_one_build(
    photos: Path, output: str, reference: dict[str, bytes]
) -> None:
    for text in ("3/4", "1/4", "3/4", "4/4", "2/4", "1/4"):
        assert one_slice(photos, output, text)
    manifest = finished(photos, output)
    assert manifest
    assert files(output) == reference
    assert len(manifest.shards) == 6
    assert manifest.remarks == ("1 file left alone: 1 .xyz",)
    assert list(verify_dataset(Folder(output))) == []
    assert not Folder(output).exists(DIVISION)


def test_a_slice_makes_its_shards_only(photos: Path, out: Path) -> None:
    manifest = one_slice(photos, out, "2/4")
    assert manifest
    assert [stats.number for stats in manifest.shards] == [1, 5]
    stems = {name.partition("-")[0] for name in Folder(str(out)).names("shards")}
    assert stems == {"000001", "000005"}
    assert not Folder(str(out)).exists("manifest.json")


def test_more_slices_than_shards_leave_some_without_work(
    photos: Path, out: Path, reference: dict[str, bytes]
) -> None:
    empty = one_slice(photos, out, "8/8")
    assert empty
    assert not empty.shards
    for number in range(1, 7):
        assert one_slice(photos, out, f"{number}/8")
    assert finished(photos, out)
    assert files(out) == reference


def test_what_is_missing_at_the_end_is_named_with_its_slices(photos: Path, output: str) -> None:
    one_slice(photos, output, "2/4")
    with pytest.raises(RunError) as error:
        finished(photos, output)
    assert str(error.value).splitlines() == [
        "4 of 6 shards are missing: run `florilegium build CONFIG` again with",
        "  --slice 1/4: 2 shards (000000, 000004)",
        "  --slice 3/4: 1 shard (000002)",
        "  --slice 4/4: 1 shard (000003)",
        "and then with --finish",
    ]
    assert not Folder(output).exists("manifest.json")


def test_a_source_that_grows_meanwhile_changes_nothing_until_the_next_build(
    changing: Path, out: Path, tmp_path: Path
) -> None:
    build_dataset(slice_run(changing, tmp_path / "other"))
    one_slice(changing, out, "1/2")
    shutil.copy(changing / "cat.jpg", changing / "aardvark.jpg")
    one_slice(changing, out, "2/2")
    assert finished(changing, out)
    assert files(out) == files(tmp_path / "other")
    for folder in (out, tmp_path / "other"):
        build_dataset(slice_run(changing, folder))
    assert files(out) == files(tmp_path / "other")
    assert read_status(Folder(str(out))).samples == 13


def test_slices_of_a_finished_dataset_with_nothing_new_open_nothing(
    changing: Path, out: Path
) -> None:
    for text in ("1/2", "2/2"):
        one_slice(changing, out, text)
    assert finished(changing, out)
    assert one_slice(changing, out, "2/2") is None
    assert finished(changing, out) is None
    assert read_status(Folder(str(out))).is_finished
    assert not Folder(str(out)).exists(DIVISION)
    shutil.copy(changing / "cat.jpg", changing / "zebra.jpg")
    assert one_slice(changing, out, "2/2")
    assert not read_status(Folder(str(out))).is_finished


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ("1/4", {}, r"in 2 slices, and this command has another number of slices \(4\)"),
        ("1/2", {"filters": {}}, "other stages or thresholds"),
        ("1/2", {"shard_size": 3}, "another shard_size"),
        (
            "1/2",
            {"limits": {"max_pixels": 500}},
            "other options of sources, limits or takedown list",
        ),
    ],
)
def test_a_slice_of_another_division_is_refused(
    photos: Path, out: Path, text: str, keys: dict[str, Any], words: str
) -> None:
    one_slice(photos, out, "2/2")
    before = files(out)
    with pytest.raises(ConfigError, match=f"{words}.* --drop-slices"):
        one_slice(photos, out, text, **keys)
    assert files(out) == before


def test_slices_of_another_source_or_other_layers_are_refused(
    photos: Path, album: Path, out: Path, tmp_path: Path
) -> None:
    one_slice(photos, out, "2/2")
    with pytest.raises(ConfigError, match="has other sources"):
        one_slice(album, out, "1/2")
    with pytest.raises(ConfigError, match="has another folder of layers"):
        one_slice(photos, out, "1/2", layers=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="has other stages or thresholds"):
        finish_slices(slice_run(photos, out, specialists=BRIGHTEST, filters={}))


def test_a_build_of_the_whole_waits_for_the_end_of_the_slices(
    photos: Path, output: str, reference: dict[str, bytes]
) -> None:
    one_slice(photos, output, "1/2")
    with pytest.raises(OutputInUse, match=r"is being built in slices: .*--finish`"):
        build_dataset(slice_run(photos, output))
    assert drop_slices(Folder(output))
    assert not drop_slices(Folder(output))
    build_dataset(slice_run(photos, output))
    assert files(output) == reference


def test_dropped_slices_can_begin_anew_with_another_number(
    photos: Path, out: Path, reference: dict[str, bytes]
) -> None:
    one_slice(photos, out, "1/2")
    drop_slices(Folder(str(out)))
    shards = Folder(str(out)).names("shards")
    for text in ("1/3", "2/3", "3/3"):
        one_slice(photos, out, text)
    assert set(shards) < set(Folder(str(out)).names("shards"))
    assert finished(photos, out)
    assert files(out) == reference


def test_the_whole_and_its_slices_are_not_written_at_once(photos: Path, output: str) -> None:
    folder = Folder(output)
    with writing(folder), pytest.raises(OutputInUse, match="is being written by"):
        one_slice(photos, output, "1/2")
    with writing_part(folder, 2):
        one_slice(photos, output, "1/2")
        for command in (partial(one_slice, photos, output, "2/2"), partial(drop_slices, folder)):
            with pytest.raises(OutputInUse, match="is being written by"):
                command()
        with pytest.raises(OutputInUse, match="is being written by"):
            finished(photos, output)
    assert one_slice(photos, output, "2/2")


def test_finishing_without_slices_is_refused(photos: Path, out: Path) -> None:
    with pytest.raises(UsageError, match=r"is not being built in slices: begin with .*1/16"):
        finished(photos, out)


def test_slices_bring_a_dataset_up_to_date_and_readers_see_the_old_one_until_the_end(
    changing: Path, out: Path, tmp_path: Path
) -> None:
    folder, other = Folder(str(out)), tmp_path / "other"
    for place in (out, other):
        build_dataset(slice_run(changing, place))
    manifest = folder.read("manifest.json")
    shutil.copy(changing / "cat.jpg", changing / "zebra.jpg")
    (changing / "cup.jpg").unlink()
    changed: dict[str, Any] = {"filters": {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.2}}}
    for text in ("2/2", "1/2"):
        one_slice(changing, out, text, **changed)
        assert folder.read("manifest.json") == manifest
        assert list(verify_dataset(folder)) == []
        with pytest.raises(OutputInUse):
            clean(folder)
    assert finished(changing, out, **changed)
    build_dataset(slice_run(changing, other, **changed))
    assert files(out) == files(other)


def test_slices_take_images_down_as_one_build_does(
    changing: Path, out: Path, tmp_path: Path
) -> None:
    other, listed = tmp_path / "other", tmp_path / "takedown.txt"
    keys: dict[str, Any] = {"takedown": str(listed)}
    listed.write_text("")
    (changing / "cat.jpg").write_bytes(b"no image")
    for place in (out, other):
        build_dataset(slice_run(changing, place, **keys))
        assert b"cat" in (place / "run.log").read_bytes()
    listed.write_text("key:cat\nkey:pagoda\n")
    one_slice(changing, out, "1/2", **keys)
    with pytest.raises(ConfigError, match="takedown list"):
        one_slice(changing, out, "2/2")
    one_slice(changing, out, "2/2", **keys)
    assert finished(changing, out, **keys)
    build_dataset(slice_run(changing, other, **keys))
    assert files(out) == files(other)
    assert (out / "takedowns" / "000001.json").exists()
    assert b"cat" not in (out / "run.log").read_bytes().replace(b"cat_corner", b"")
    assert list(verify_dataset(Folder(str(out)))) == []
    listed.write_text("")
    one_slice(changing, out, "1/1", **keys)
    with pytest.raises(ConfigError, match="this config has none: their images would come back"):
        finished(changing, out)
    assert finished(changing, out, **keys)
    assert read_receipts(Folder(str(out)))[-1].withdrawn == ("key:cat", "key:pagoda")


def test_an_index_that_was_changed_is_noticed(
    photos: Path, changing: Path, out: Path, tmp_path: Path
) -> None:
    one_slice(photos, out, "1/2")
    build(changing, tmp_path / "other", shard_size=2)
    shutil.copy(tmp_path / "other" / "index.parquet", out / "index.parquet")
    with pytest.raises(StorageError, match=r"not as the first slice wrote it: .* --drop-slices"):
        one_slice(photos, out, "2/2")


def test_slices_that_start_at_once_divide_the_source_once(
    photos: Path, out: Path, reference: dict[str, bytes]
) -> None:
    jobs = [
        context().Process(target=one_slice, args=(photos, out, f"{number}/4"))
        for number in range(1, 5)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert finished(photos, out)
    assert files(out) == reference


def test_slices_that_are_killed_again_and_again_are_completed(
    photos: Path, out: Path, reference: dict[str, bytes]
) -> None:
    chance = random.Random(0)
    steps: list[Callable[[], Any]] = [
        partial(one_slice, photos, out, f"{number}/3") for number in (1, 2, 3)
    ]
    deaths = sum(
        run_and_die(step, out, chance.randrange(3, 60))
        for step in (*steps, *chance.choices(steps, k=3))
    )
    assert deaths > 3
    for step in chance.sample(steps, 3):
        step()
    finish = partial(finished, photos, out)
    assert run_and_die(finish, out, chance.randrange(3, 45))
    finish()
    assert files(out) == reference
    assert list(verify_dataset(Folder(str(out)))) == []


def test_dead_letters_are_tried_again_by_slice_and_logs_of_slices_are_joined(
    photos: Path, output: str, tmp_path: Path
) -> None:
    moody = {"use": "tests.stages:Moody", "key": "cat", "allowed": str(tmp_path / "allowed")}
    keys: dict[str, Any] = {"specialists": {"moody": moody}, "filters": {}}
    for text in ("1/2", "2/2"):
        one_slice(photos, output, text, **keys)
    before = finished(photos, output, **keys)
    assert before
    assert (before.totals.samples, before.totals.dead_letters) == (11, 1)
    log = Folder(output).read("run.log") or b""
    assert log.count(b": not_now: ask again later") == 1
    (tmp_path / "allowed").touch()
    for text in ("1/2", "2/2"):
        assert one_slice(photos, output, text, retry=True, **keys)
    after = finished(photos, output, **keys)
    assert after
    assert (after.totals.samples, after.totals.dead_letters) == (12, 0)
    assert (Folder(output).read("run.log") or b"").startswith(log)


class Unpaid(Moody):
    """Leaves one image to the next budget until a file exists."""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        try:
            return super().predict(samples)
        except SampleError as error:
            raise SampleError(BUDGET_EXHAUSTED, "nothing is left of the budget") from error


def test_what_a_budget_did_not_reach_is_finished_without_it_and_asked_by_the_next_slices(
    photos: Path, out: Path, tmp_path: Path
) -> None:
    unpaid = {
        "use": "tests.pipelines.test_slices:Unpaid",
        "key": "cat",
        "allowed": str(tmp_path / "allowed"),
    }
    keys: dict[str, Any] = {"specialists": {"unpaid": unpaid}, "filters": {}}
    for text in ("1/2", "2/2"):
        one_slice(photos, out, text, **keys)
    before = finished(photos, out, **keys)
    assert before
    assert before.totals.failures == {BUDGET_EXHAUSTED: 1}
    (tmp_path / "allowed").touch()
    for text in ("1/2", "2/2"):
        assert one_slice(photos, out, text, **keys)
    after = finished(photos, out, **keys)
    assert after
    assert after.totals.failures == {}


def test_a_first_slice_that_is_killed_before_its_division_is_stored_did_not_begin(
    photos: Path, out: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("florilegium.engine.execution.slices._division", killed_now)
        with pytest.raises(KeyboardInterrupt):
            one_slice(photos, out, "2/2")
    assert Folder(str(out)).exists("index.parquet")
    assert read_division(Folder(str(out))) is None
    for text in ("1/2", "2/2"):
        one_slice(photos, out, text)
    finished(photos, out)
    assert files(out) == reference


def test_an_end_that_is_killed_after_the_switch_is_completed(
    photos: Path, out: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("1/2", "2/2"):
        one_slice(photos, out, text)
    with monkeypatch.context() as patch:
        patch.setattr("florilegium.pipelines.build.end_slices", killed_now)
        with pytest.raises(KeyboardInterrupt):
            finished(photos, out)
    assert read_division(Folder(str(out)))
    assert one_slice(photos, out, "1/2")
    assert finished(photos, out)
    assert files(out) == reference
    assert read_division(Folder(str(out))) is None


def killed_now(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
