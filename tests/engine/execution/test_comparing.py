"""Sample filters that compare the images of a run: measured once, compared shard after shard,
and asked again about nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.errors import RunError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.refresh.refresh import refresh_dataset
from florilegium.pipelines.verify.verify import verify_dataset
from tests import curating
from tests.building import build, configure, contents, finished, one_slice

GREYS = {"a": 10, "b": 90, "c": 10, "d": 150, "e": 92, "f": 200}
"""`c` is a copy of `a`, and `e` is close to `b`; two in a shard."""


class Compared:
    """A dataset of greys, and what its stages were asked in the last build."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.source, self.out, self.logs = source, folder / "out", folder / "logs"
        self.logs.mkdir(parents=True)

    def draw(self, key: str, grey: int) -> None:
        Image.new("RGB", (20, 16), (grey, grey, grey)).save(self.source / f"{key}.png")

    def keys(self, within: float = 0, bright: float = 0, **changes: Any) -> dict[str, Any]:
        def stage(name: str, use: str, **options: Any) -> dict[str, Any]:
            return {name: {"use": f"tests.curating:{use}", "log": str(self.logs / name), **options}}

        repeated = {"within": within, "refused": changes.pop("refused", "")}
        return {
            "shard_size": 2,
            "sample_filters": {
                **stage("bright", "Brightness", minimum=bright),
                **stage("repeated", "Repeated", **repeated),
            },
            "specialists": {**stage("captions", "Captions"), **stage("tags", "Tags")},
            **changes,
        }

    def build(self, within: float = 0, *, retry: bool = False, **changes: Any) -> Manifest:
        for log in self.logs.iterdir():
            log.unlink()
        return build(self.source, self.out, retry=retry, **self.keys(within, **changes))

    def asked(self, name: str) -> list[str]:
        log = self.logs / name
        return sorted({*log.read_text().split()} - {"loaded"}) if log.exists() else []

    def drops(self) -> dict[str, str]:
        """Return the message of each drop by key."""
        lines = {}
        for key in sorted(path.stem for path in self.source.iterdir()):
            for text in explain(Folder(str(self.out)), key):
                if text.plain.startswith("  repeated: "):
                    lines[key] = text.plain.strip()
        return lines

    def is_whole(self) -> bool:
        return not list(verify_dataset(Folder(str(self.out))))


@pytest.fixture
def compared(tmp_path: Path) -> Compared:
    first = Compared(tmp_path / "first", tmp_path / "source")
    first.source.mkdir()
    for key, grey in GREYS.items():
        first.draw(key, grey)
    return first


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Mapping[str, bytes]]:
    """Returns the bytes of a new build of what is in the source now."""

    def contents_of(within: float = 0, **keys: Any) -> Any:
        other = Compared(tmp_path / "fresh", tmp_path / "source")
        other.build(within, **keys)
        return contents(other.out)

    return contents_of


def test_no_specialist_is_asked_about_a_copy_of_an_earlier_shard(compared: Compared) -> None:
    totals = compared.build(2).totals
    assert compared.asked("repeated") == ["a", "b", "c", "compared", "d", "e", "f"]
    assert compared.asked("captions") == compared.asked("tags") == ["a", "b", "d", "f"]
    assert totals.sample_drops == {"repeated/repeated": 2}
    assert (totals.inputs, totals.samples, totals.failures) == (6, 4, {})
    assert compared.drops() == {
        "c": "repeated: repeated: difference 0, mean 10, copy_of 'a' (within = 2.0)",
        "e": "repeated: repeated: difference 2, mean 92, copy_of 'b' (within = 2.0)",
    }
    assert compared.is_whole()
    status = read_status(Folder(str(compared.out)))
    assert (status.is_finished, status.shards_done) == (True, 3)


def test_when_nothing_is_new_nothing_is_compared(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compared.build()
    monkeypatch.setattr("florilegium.engine.execution.run.compare_run", None)
    assert compared.build().file_sha256 == first.file_sha256
    assert compared.asked("repeated") == []


def test_new_shards_change_no_verdict_on_old_ones(compared: Compared) -> None:
    compared.build(2)
    before = contents(compared.out)
    (stale,) = (compared.out / "compared").iterdir()
    compared.draw("0", 10)  # first by its name, yet later by its shard
    compared.draw("g", 202)
    manifest = compared.build(2)
    assert compared.asked("repeated") == ["0", "compared", "g"], "old shards are not measured again"
    assert compared.asked("tags") == []
    assert manifest.totals.sample_drops == {"repeated/repeated": 4}
    after = contents(compared.out)
    assert {name for name in before if before[name] != after.get(name)} == {
        "README.md",
        "manifest.json",
        "dead_letters.parquet",
    }
    assert not stale.exists()
    assert compared.is_whole()


@pytest.mark.parametrize(
    ("before", "after", "new"), [(2, 0, ["e"]), (0, 2, []), (100, 1, ["b", "e", "f"])]
)
def test_a_threshold_measures_nothing_and_gives_the_bytes_of_a_new_build(
    compared: Compared, fresh: Callable[..., Any], before: float, after: float, new: list[str]
) -> None:
    compared.build(before)
    compared.build(after)
    assert compared.asked("repeated") == ["compared"]
    assert compared.asked("captions") == compared.asked("tags") == new
    assert contents(compared.out) == fresh(after)
    assert compared.is_whole()


def test_the_threshold_of_a_filter_before_compares_what_passes_it(
    compared: Compared, fresh: Callable[..., Any]
) -> None:
    compared.build(2)
    manifest = compared.build(2, bright=50)
    assert compared.asked("repeated") == ["compared"], "its layers are taken over"
    assert manifest.totals.sample_drops == {"bright/too_dark": 2, "repeated/repeated": 1}
    assert contents(compared.out) == fresh(2, bright=50)


@pytest.mark.parametrize("is_listed", [False, True], ids=["gone", "taken down"])
def test_without_the_image_that_was_kept_its_copy_comes_back(
    compared: Compared, fresh: Callable[..., Any], tmp_path: Path, is_listed: bool
) -> None:
    """Only its shard is made again; the others are left alone."""
    before = {shard.number: shard.name for shard in compared.build(2).shards}
    keys: dict[str, Any] = {}
    if is_listed:
        keys["takedown"] = str(tmp_path / "list.txt")
        (tmp_path / "list.txt").write_text("key:a\n")
    else:
        (compared.source / "a.png").unlink()
    manifest = compared.build(2, **keys)
    after = {shard.number: shard.name for shard in manifest.shards}
    assert [number for number in before if before[number] != after[number]] == [0, 1]
    assert compared.asked("repeated") == ["compared"]
    assert compared.asked("tags") == compared.asked("captions") == ["c"]
    assert compared.drops().keys() == {"e"}
    assert compared.is_whole()
    if is_listed:
        files = [path for path in compared.out.rglob("*.parquet") if "taken" not in str(path)]
        (stored,) = (path for path in files if path.parent.name == "compared")
        assert b"a.png" not in stored.read_bytes()


def test_a_kept_image_that_is_another_one_frees_its_copy(
    compared: Compared, fresh: Callable[..., Any]
) -> None:
    compared.build()
    compared.draw("a", 55)
    compared.build()
    assert compared.asked("repeated") == ["a", "compared"]
    assert compared.asked("tags") == ["a", "c"]
    assert contents(compared.out) == fresh()


@pytest.mark.parametrize("dies", ["compare", "predict"])
def test_a_build_that_was_killed_goes_on_without_measuring_again(
    compared: Compared, fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    whose = curating.Repeated if dies == "compare" else curating.Tags

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(whose, dies, killed)
        with pytest.raises(KeyboardInterrupt):
            compared.build(2)
    assert not read_status(Folder(str(compared.out))).is_finished
    compared.build(2)
    assert compared.asked("repeated") == (["compared"] if dies == "compare" else [])
    assert contents(compared.out) == fresh(2)


@pytest.mark.parametrize(("reason", "retry"), [("too_odd", True), ("budget_exhausted", False)])
def test_a_sample_that_cannot_be_measured_is_a_failure_and_compared_when_it_can(
    compared: Compared,
    fresh: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    retry: bool,
) -> None:
    measure = curating.Repeated.measure

    def refusing(self: Any, samples: Any) -> Any:
        answers = measure(self, samples)
        keys = [sample.key for sample in samples]
        return [
            curating.SampleError(reason, "no") if key == "a" else one
            for key, one in zip(keys, answers, strict=True)
        ]

    with monkeypatch.context() as patch:
        patch.setattr(curating.Repeated, "measure", refusing)
        totals = compared.build().totals
    assert totals.failures == {reason: 1}
    assert totals.sample_drops == {}
    compared.build(retry=retry)
    assert compared.asked("repeated") == ["a", "compared"]
    assert contents(compared.out) == fresh()


def test_a_broken_source_stops_the_run_before_anything_is_compared(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.engine.execution.losses.MANY", 2)
    for key in "abcd":
        (compared.source / f"{key}.png").write_bytes(b"no image")
    with pytest.raises(RunError, match="all of the first 4 images failed"):
        compared.build(max_dead_letter_share=0.5)
    assert compared.asked("repeated") == []
    assert not list(compared.out.glob("compared/*"))


def test_finished_shards_count_where_new_ones_are_measured(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("florilegium.engine.execution.losses.MANY", 2)
    compared.build()
    for key in "gh":
        (compared.source / f"{key}.png").write_bytes(b"no image")
    totals = compared.build(max_dead_letter_share=0.5).totals
    assert totals.inputs == 8


def test_an_image_that_changes_after_it_was_compared_is_compared_by_the_next_build(
    compared: Compared, fresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = curating.Repeated.compare

    def changing(self: Any, shards: Any) -> Iterator[Any]:
        yield from compare(self, shards)
        compared.draw("d", 90)

    with monkeypatch.context() as patch:
        patch.setattr(curating.Repeated, "compare", changing)
        manifest = compared.build()
    assert manifest.totals.failures == {"not_compared": 1}
    compared.build()
    assert compared.drops().keys() == {"c", "d"}
    assert contents(compared.out) == fresh()


def test_several_filters_compare_one_after_the_other(
    compared: Compared, fresh: Callable[..., Any]
) -> None:
    def both(within: float) -> dict[str, Any]:
        keys = compared.keys()["sample_filters"]
        log = str(compared.logs / "closer")
        own = {"use": "tests.curating:Repeated", "log": log, "within": within}
        return {"sample_filters": {**keys, "closer": own}}

    totals = compared.build(**both(2)).totals
    assert totals.sample_drops == {"closer/repeated": 1, "repeated/repeated": 1}
    assert compared.asked("closer") == ["a", "b", "compared", "d", "e", "f"], "not the copy"
    assert compared.is_whole()
    compared.build(**both(60))
    assert compared.asked("closer") == ["compared"]
    assert compared.asked("repeated") == [], "its comparison is the same"
    assert compared.is_whole()
    changed = contents(compared.out)
    shutil.rmtree(compared.out)
    compared.build(**both(60))
    assert contents(compared.out) == changed


def test_a_lost_comparison_is_made_again_from_layers(compared: Compared) -> None:
    first = compared.build(2)
    (stored,) = (compared.out / "compared").iterdir()
    data = stored.read_bytes()
    stored.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    (problem,) = verify_dataset(Folder(str(compared.out)))
    assert stored.name in problem
    assert "changed after it was written" in problem
    stored.unlink()
    (problem,) = verify_dataset(Folder(str(compared.out)))
    assert f"{stored.name} is missing" in problem
    assert compared.build(2).file_sha256 == first.file_sha256
    assert compared.asked("repeated") == ["compared"]
    assert compared.is_whole()


def test_a_filter_that_is_left_out_leaves_no_comparison(compared: Compared) -> None:
    compared.build(2)
    compared.build(sample_filters={})
    assert not list((compared.out / "compared").iterdir())
    assert compared.is_whole()


def test_slices_share_the_comparison_of_the_first_one(
    compared: Compared, fresh: Callable[..., Any]
) -> None:
    keys = {**compared.keys(2), "filters": {}}
    for part in ("2/3", "1/3", "3/3"):
        one_slice(compared.source, compared.out, part, **keys)
    assert compared.logs.joinpath("repeated").read_text().split().count("compared") == 1
    finished(compared.source, compared.out, **keys)
    assert contents(compared.out) == fresh(2)
    assert compared.is_whole()


def test_a_version_that_is_held_back_is_compared_once(compared: Compared) -> None:
    compared.build(2)
    before = contents(compared.out)
    (compared.source / "b.png").unlink()
    limits = RefreshOptions(limits={"max_dropped_share": 0.1})
    log = compared.logs / "repeated"
    run = prepare(configure(compared.source, compared.out, **compared.keys(2)))
    assert refresh_dataset(run, limits).record.outcome == "held_back"
    assert contents(compared.out).items() >= before.items()
    assert log.read_text().split()[-1] == "compared"
    log.unlink()
    assert refresh_dataset(run, limits).record.outcome == "held_back"
    assert refresh_dataset(run, limits, accept=True).record.outcome == "published"
    assert not log.exists()
    assert compared.is_whole()
    assert compared.drops().keys() == {"c"}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([], "gave no answer to a shard"),
        ([{"copy_of": ["", ""]}], "0 values of 'compared.difference' for 2 samples"),
        ([{"copy_of": ["", None], "difference": [0, 0]}], "1 values of 'compared.copy_of'"),
        ([{"copy_of": [1, 2], "difference": [0, 0]}], "cannot compare"),
    ],
)
def test_a_filter_that_compares_wrongly_is_named(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, answers: list[Any], problem: str
) -> None:
    def wrong(self: Any, shards: Any) -> Iterator[Any]:
        given = iter(shards)
        next(given)
        yield from answers

    monkeypatch.setattr(curating.Repeated, "compare", wrong)
    with pytest.raises(RunError, match=f"sample filter 'repeated' .*{problem}|{problem}"):
        compared.build()
