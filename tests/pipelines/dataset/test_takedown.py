"""What was made of a listed image is gone: from the dataset, its layers and its versions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.execution import worker
from florilegium.engine.execution.losses import refuse_losses
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.layer import layer_bytes, parse_layer
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.shard import read_shard
from florilegium.engine.results.takedowns import put_in_effect, read_receipts
from florilegium.engine.sources.takedown import parse_takedown
from florilegium.engine.storage.folder import Draft, Folder
from florilegium.pipelines import build as building
from florilegium.pipelines.corrections.store import (
    add_corrections,
    folder_of,
    read_corrections,
)
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, build, contents
from tests.enriching import stages
from tests.pipelines.corrections.said import said, seen
from tests.takedowns import CAT, Album, everything, found_in


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Album:
    return Album(album, tmp_path)


def traces_of_the_cat(photos: Album) -> list[bytes | str]:
    data = photos.bytes_of("cat.jpg")
    return [data, sha256(data).hexdigest(), CAT]


def test_all_that_was_made_of_a_listed_image_is_gone(photos: Album) -> None:
    before = photos.build()
    traces = traces_of_the_cat(photos)
    assert len(found_in(photos.out, *traces)) > 5, "tar, Parquet and layers have it"
    others = {one.key: one for one in open_dataset(str(photos.out)) if one.key != "cat"}
    manifest = photos.build(f"sha256:{sha256(photos.bytes_of('cat.jpg')).hexdigest()}")
    assert found_in(photos.out, *traces) == []
    assert photos.asked() == {}
    assert {one.key: one for one in open_dataset(str(photos.out))} == others
    assert manifest.totals.inputs == before.totals.inputs == 6
    assert (manifest.totals.samples, manifest.totals.failures) == (5, {"taken_down": 1})
    assert photos.problems() == []


def test_a_second_run_with_the_same_list_changes_nothing(photos: Album) -> None:
    photos.build()
    photos.build("key:cat", "key:nobody")
    before = {path: path.stat().st_mtime_ns for path in photos.out.rglob("*") if path.is_file()}
    photos.build("key:nobody", "key:cat")
    after = {path: path.stat().st_mtime_ns for path in photos.out.rglob("*") if path.is_file()}
    assert {one for one in after if after[one] != before.get(one)} == set()
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("key:cat", True),
        ("url:cat.jpg", True),
        ("url:{folder}/cat.jpg", True),
        ("sha256:{jpg}", True),
        ("key:cat.jpg", False),
        ("url:{folder}/nothing.jpg", False),
        ("url:at.jpg", False),
        ("sha256:" + "0" * 64, False),
    ],
)
def test_an_image_is_listed_by_key_place_or_digest(photos: Album, entry: str, match: bool) -> None:
    jpg = sha256(photos.bytes_of("cat.jpg")).hexdigest()
    entry = entry.format(folder=photos.photos, jpg=jpg)
    manifest = photos.build(entry)
    assert ("cat" in photos.names()) == (not match)
    assert manifest.totals.samples == 6 - match
    (receipt,) = photos.receipts()
    assert [one.key for one in receipt.matched] == ["cat"] * match
    assert receipt.unmatched == (() if match else (entry,))


def test_the_digest_of_a_published_image_counts_and_so_do_copies(photos: Album) -> None:
    shutil.copy(photos.photos / "cat_corner.png", photos.photos / "another.png")
    photos.build()
    (published,) = {
        sha256(one.image).hexdigest()
        for one in open_dataset(str(photos.out))
        if one.key == "another"
    }
    assert published != sha256(photos.bytes_of("another.png")).hexdigest()
    manifest = photos.build(f"sha256:{published}")
    assert manifest.totals.failures == {"taken_down": 2}
    assert not {"another", "cat_corner"} & set(photos.names())
    fresh = photos.out.with_name("fresh")
    again = build(photos.photos, fresh, shard_size=2, takedown=str(photos.list))
    assert again.totals.failures == {"taken_down": 2}, "new inputs are published to be compared"


def test_only_shards_that_may_hold_a_match_are_read_again(
    photos: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.build()
    opened: list[str] = []
    monkeypatch.setattr(worker, "read_shard", spied(opened))
    photos.build(f"sha256:{sha256(photos.bytes_of('cat.jpg')).hexdigest()}", "key:nobody")
    assert opened == ["000000"]
    opened.clear()
    photos.build("key:cat", "key:nobody", "key:pagoda")
    assert opened == ["000000", "000002"], "the cat is no longer listed by its digest"
    opened.clear()
    photos.build("key:nobody")
    assert opened == ["000000", "000002"]
    assert len(photos.names()) == 6
    assert photos.problems() == []


def spied(opened: list[str]) -> Any:
    def read(spec: ShardSpec, *arguments: Any, **options: Any) -> Any:
        opened.append(spec.name)
        return read_shard(spec, *arguments, **options)

    return read


def test_a_list_that_is_left_out_is_an_error_and_an_empty_one_brings_images_back(
    photos: Album,
) -> None:
    before = photos.build(takedown=None)
    photos.build("key:cat")
    with pytest.raises(ConfigError, match=r"list of 1 entry, and this config has none: their im"):
        photos.build(takedown=None)
    manifest = photos.build()
    assert [shard.tar for shard in manifest.shards] == [shard.tar for shard in before.shards]
    assert photos.receipts()[-1].withdrawn == ("key:cat",)
    assert set(photos.asked()) == {"texts", "names", "summary"}, "it is asked about again"
    photos.build(takedown=None)


def test_new_images_are_held_against_the_whole_list(photos: Album) -> None:
    photos.build("key:late", "key:cat")
    shutil.copy(photos.photos / "cup.jpg", photos.photos / "late.jpg")
    photos.build("key:late", "key:cat")
    assert photos.asked() == {}
    first, second = photos.receipts()
    assert [one.key for one in first.matched] == ["cat"]
    assert first.unmatched == ("key:late",)
    assert [(one.key, one.shard, one.entries) for one in second.matched] == [
        ("late", "", ("key:late",))
    ]
    assert second.unmatched == ()
    assert photos.problems() == []


@pytest.mark.parametrize("keep", [1, 3])
def test_an_image_that_the_source_lost_before_is_gone_from_versions_and_layers(
    photos: Album, keep: int
) -> None:
    photos.build(keep_versions=keep)
    traces = traces_of_the_cat(photos)
    (photos.photos / "cat.jpg").unlink()
    photos.build(keep_versions=keep)
    assert found_in(photos.out, *traces), "the layers have it, and an earlier version"
    digest = sha256(traces[0]).hexdigest()  # type: ignore[arg-type]
    photos.build(f"sha256:{digest}", keep_versions=keep)
    assert found_in(photos.out, *traces) == []
    (receipt,) = photos.receipts()
    was_known = keep > 1
    assert [(one.key, one.sha256) for one in receipt.matched] == [("cat", digest)] * was_known
    assert len(receipt.versions) == len(receipt.shards) == was_known
    assert photos.asked() == {}
    assert photos.problems() == []


def test_versions_without_the_image_are_kept(photos: Album) -> None:
    photos.build("key:cat", keep_versions=3)
    photos.build("key:cat", keep_versions=3, filters=BRIGHT_ENOUGH, specialists=BRIGHTEST)
    photos.build("key:cat", "key:nobody", keep_versions=3, specialists=BRIGHTEST)
    assert len(list((photos.out / "versions").iterdir())) == 2
    photos.build("key:cat", "key:cup", keep_versions=3, specialists=BRIGHTEST)
    assert list((photos.out / "versions").iterdir()) == []
    assert len(photos.receipts()[-1].versions) == 3
    assert photos.problems() == []


def test_a_takedown_that_is_killed_anywhere_is_completed_by_the_same_command(
    photos: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in photos.photos.iterdir():
        if path.stem not in ("cat", "cup"):
            path.unlink()
    traces = traces_of_the_cat(photos)
    keys: dict[str, Any] = {"keep_versions": 3, "specialists": BRIGHTEST}
    finishing: list[Any] = []
    photos.build(takedown=None, keep_versions=3)
    photos.build(takedown=None, **keys)
    with monkeypatch.context() as patch:
        patch.setattr(building, "finish", lambda *arguments, **_: finishing.append(arguments))
        photos.build("key:cat", **keys)
    start = shutil.copytree(photos.out, tmp_path / "start")
    photos.build("key:cat", **keys)
    assert photos.problems() == []
    (whole,) = photos.receipts()
    assert (len(whole.layers), len(whole.versions), len(whole.shards)) == (6, 2, 2)
    wanted = dict(everything(photos.out / "takedowns")) | contents(photos.out)
    for step in range(1, 1000):
        shutil.rmtree(photos.out)
        shutil.copytree(start, photos.out)
        if not killed(monkeypatch, step, *finishing[0]):
            break
        assert photos.names() in (["cat", "cup"], ["cup"]), "one version or the other"
        photos.build("key:cat", **keys)
        found = dict(everything(photos.out / "takedowns")) | contents(photos.out)
        assert found == wanted, step
        assert found_in(photos.out, *traces) == [], step
    assert step > 20


def killed(monkeypatch: pytest.MonkeyPatch, step: int, run: Run, manifest: Manifest) -> bool:
    """Switch to the next version until a file would appear or vanish for the so-manieth time;
    return whether it came to that."""
    left = step

    def dying(method: Any) -> Any:
        def run_or_die(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return method(*arguments, **options)

        return run_or_die

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "publish", dying(Draft.publish))
        patch.setattr(Folder, "remove", dying(Folder.remove))
        patch.setattr(Folder, "clear", dying(Folder.clear))
        try:
            building.finish(run, manifest, before_switch=lambda: None)
        except KeyboardInterrupt:
            return True
    return False


def test_images_on_which_a_stage_failed_are_not_asked_about_again(photos: Album) -> None:
    failing = stages(photos.logs, most=1, refused="corner 0")
    photos.build(specialists=failing)
    assert photos.asked()["texts"] == 7, "loaded, and asked about each image"
    manifest = photos.build("key:cat", specialists=failing)
    assert photos.asked() == {}
    assert manifest.totals.failures == {"nothing_found": 5, "taken_down": 1}
    updated = contents(photos.out)
    shutil.rmtree(photos.out)
    photos.build("key:cat", specialists=failing)
    assert contents(photos.out) == updated, "it is what a build from nothing gives"


def test_what_is_taken_down_is_no_loss_and_not_named_in_the_report(photos: Album) -> None:
    everybody = [f"key:{path.stem}" for path in photos.photos.iterdir() if path.suffix != ".txt"]
    manifest = photos.build(*everybody[:5], max_dead_letter_share=0)
    refuse_losses(manifest, 0)
    assert manifest.totals.samples == 1
    report = (photos.out / "report.html").read_text("utf-8")
    assert "5 images taken down" in report
    assert "No input failed" in report
    assert "takedown list" not in report
    refuse_losses(photos.build(*everybody), 0)
    assert photos.problems() == []


def test_layers_that_other_datasets_share_are_cleaned_and_keep_their_answers(
    photos: Album, album: Path, tmp_path: Path
) -> None:
    layers = {"layers": str(tmp_path / "layers")}
    photos.build(**layers)
    other = Album(album, tmp_path / "other")
    other.build(**layers, shard_size=3)
    traces = traces_of_the_cat(photos)
    assert found_in(tmp_path / "layers", CAT)
    photos.build("key:cat", **layers)
    assert found_in(photos.out, *traces) == found_in(tmp_path / "layers", *traces) == []
    assert photos.asked() == {}
    others, killed = photos.receipts()[0].not_reached[-2:]
    assert "layers elsewhere that only other datasets needed" in others
    assert "layers elsewhere of builds that were killed" in killed
    other.build("key:cat", **layers, shard_size=3)
    assert other.asked() == {}, "its layers were written again without the cat"
    assert found_in(other.out, *traces) == []
    assert photos.problems() == other.problems() == []


def test_layers_in_the_dataset_that_no_shard_needs_are_deleted_with_it(photos: Album) -> None:
    """They may be about a listed image that the source had under another key."""
    photos.build(shard_size=4)
    photos.build(shard_size=4, specialists=BRIGHTEST)
    photos.build(shard_size=2, specialists=BRIGHTEST)
    names = {path.parent.name for path in (photos.out / "layers").glob("*/*.parquet")}
    assert len(names) > 4
    photos.build("key:cat", specialists=BRIGHTEST)
    assert found_in(photos.out, *traces_of_the_cat(photos)) == []
    photos.build("key:cat")
    assert "corners" not in photos.receipts()[-1].layers
    assert photos.problems() == []


def test_a_damaged_manifest_of_an_earlier_version_stops_no_takedown(photos: Album) -> None:
    photos.build(keep_versions=3)
    photos.build(keep_versions=3, specialists=BRIGHTEST)
    (photos.out / "versions" / "000001.json").write_bytes(b"{")
    photos.build("key:cat", keep_versions=3, specialists=BRIGHTEST)
    assert found_in(photos.out, *traces_of_the_cat(photos)) == []
    assert len(photos.receipts()[0].versions) == 1, "the one that could be read"


def test_layers_of_the_dataset_are_its_own_however_its_config_spells_them(photos: Album) -> None:
    keys = {"layers": f"{photos.out}/layers/"}
    photos.build(specialists=BRIGHTEST, shard_size=4, **keys)
    photos.build(specialists=BRIGHTEST, **keys)
    photos.build("key:cat", specialists=BRIGHTEST, **keys)
    (receipt,) = photos.receipts()
    assert len(receipt.layers) == 2, "of the shards of two and of four that began with the cat"
    assert receipt.reading_receipts
    assert not any("layers elsewhere" in one for one in receipt.not_reached)


def test_verify_names_a_sample_that_is_on_the_list(photos: Album) -> None:
    photos.build("key:nobody")
    (receipt,) = photos.receipts()
    digest = sha256(photos.bytes_of("pagoda.jpg")).hexdigest()
    entries = f"key:nobody\nkey:cat\nurl:cup.jpg\nsha256:{digest}\n"
    listed = parse_takedown(entries.encode(), "list")
    (photos.out / f"takedowns/{receipt.list_digest}.txt").unlink()
    changed = replace(receipt, list_digest=listed.digest)
    output = Folder(str(photos.out))
    put_in_effect(output, listed)
    output.publish("takedowns/000001.json", changed.to_json())
    problems = photos.problems()
    assert [one.partition(": ")[2] for one in problems] == [
        "sample 'cat' is on the takedown list",
        "sample 'cup' is on the takedown list",
        "sample 'pagoda' is on the takedown list",
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("takedowns/more.txt", b"x", "takedowns/more.txt is neither a list nor a receipt"),
        ("takedowns/000001.json", b"{}", "takedowns/000001.json is damaged"),
        ("takedowns/pending.json", None, "a takedown was interrupted, run the same build again"),
    ],
)
def test_verify_reads_lists_and_receipts(
    photos: Album, name: str, content: bytes | None, problem: str
) -> None:
    photos.build("key:cat")
    if content is None:
        (receipt,) = photos.receipts()
        content = replace(receipt, number=2, version="").to_json()
    (photos.out / name).write_bytes(content)
    (found,) = photos.problems()
    assert problem in found


def test_a_changed_list_is_noticed(photos: Album) -> None:
    photos.build("key:cat")
    (path,) = (photos.out / "takedowns").glob("*.txt")
    path.write_text("key:cup\n")
    (found,) = photos.problems()
    assert "its digest differs from its name" in found
    with pytest.raises(StorageError, match="its digest differs from its name"):
        photos.build("key:cat", "key:cup")


def test_the_log_and_a_dataset_elsewhere_than_on_a_disk_forget_an_image(photos: Album) -> None:
    output = f"memory://{photos.out.name}-{id(photos)}"
    trouble = {"use": "tests.stages:Trouble", "key": "cat"}
    keys: dict[str, Any] = {"specialists": {"trouble": trouble}, "shard_size": 4}
    build(photos.photos, output, **keys)  # type: ignore[arg-type]
    folder = Folder(output)
    assert b" cat (cat.jpg)" in (folder.read("run.log") or b"")
    photos.list.write_text("key:cat\n")
    build(photos.photos, output, takedown=str(photos.list), **keys)  # type: ignore[arg-type]
    assert b"cat (" not in (folder.read("run.log") or b"")
    (receipt,) = read_receipts(folder)
    assert receipt.log_lines == 1
    assert any("earlier versions of objects" in one for one in receipt.not_reached)
    assert list(verify_dataset(folder)) == []
    folder.clear()


def test_why_an_image_is_not_there_is_found_by_key_and_by_digest(photos: Album) -> None:
    photos.build()
    photos.build("key:cat")
    digest = sha256(photos.bytes_of("cat.jpg")).hexdigest()
    for wanted in ("cat", "cat.jpg", digest[:8]):
        lines = [line.plain for line in explain(Folder(str(photos.out)), wanted)]
        assert lines[0] == "cat  cat.jpg"
        assert "source: taken_down: on the takedown list, by key" in lines[2]
        assert lines[3] == "  takedowns/ has the receipt of what was deleted"
        assert len(lines) == 4, "no annotation of it is left"
    photos.build()
    assert "dead letter" not in [line.plain for line in explain(Folder(str(photos.out)), digest)]


def test_layers_of_some_samples_are_searched_and_kept_like_others(photos: Album) -> None:
    """A killed build leaves layers of the samples that were answered so far."""
    photos.build()
    digest = named_digest(photos.out)
    for stage, number in (("corners", 0), ("names", 0), ("texts", 1)):
        (path,) = (photos.out / "layers").glob(f"{stage}-*/{digest}.parquet")
        layer, samples = parse_layer(path.read_bytes())
        path.write_bytes(layer_bytes(layer.renumbered({number: 0}), [samples[number]]))
    photos.build("key:cat", specialists=BRIGHTEST)
    assert found_in(photos.out, *traces_of_the_cat(photos)) == []
    kept = {
        path.parent.name.partition("-")[0]
        for path in (photos.out / "layers").glob(f"*/{named_digest(photos.out)}.parquet")
    }
    assert kept == {"bright", "corners", "echo", "names", "summary"}, "texts had the cat alone"
    photos.build("key:cat")
    assert photos.asked() == {"texts": 5}, "the four corners of the astronaut, and loading"


def named_digest(output: Path) -> str:
    """Return the digest of the samples of the first shard."""
    manifest = json.loads((output / "manifest.json").read_text())
    return str(manifest["shards"][0]["samples_digest"])


def test_a_listed_input_that_never_was_a_sample_is_taken_down_after_a_kill(
    photos: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos.photos / "cat.jpg").write_bytes(b"no image")
    assert photos.build().totals.failures == {"not_an_image": 1}
    with monkeypatch.context() as patch:
        patch.setattr("tests.building.put_in_place", killed_now)
        with pytest.raises(KeyboardInterrupt):
            photos.build("key:cat")
    assert photos.build("key:cat").totals.failures == {"taken_down": 1}


def test_a_killed_build_with_another_list_leaves_no_answers_about_a_listed_image(
    photos: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.build()
    photos.build("key:cat")
    with monkeypatch.context() as patch:
        patch.setattr("tests.building.put_in_place", killed_now)
        with pytest.raises(KeyboardInterrupt):
            photos.build()
    traces = traces_of_the_cat(photos)
    assert found_in(photos.out, *traces), "shards and layers of the killed build"
    photos.build("key:cat")
    assert found_in(photos.out, *traces) == []
    assert [[one.key for one in receipt.matched] for receipt in photos.receipts()] == [["cat"]] * 2
    assert photos.problems() == []


def test_an_entry_that_is_withdrawn_after_a_kill_deletes_no_version(
    photos: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.build(keep_versions=5)
    photos.build(keep_versions=5, specialists=BRIGHTEST)
    versions = list((photos.out / "versions").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(building, "switch", killed_now)
        with pytest.raises(KeyboardInterrupt):
            photos.build("key:cat", "key:cup", keep_versions=5, specialists=BRIGHTEST)
    changed = shutil.copytree(photos.out, photos.out.with_name("changed"))
    photos.build(keep_versions=5, specialists=BRIGHTEST)
    assert list((photos.out / "versions").iterdir()) == versions
    (receipt,) = photos.receipts()
    assert (receipt.matched, receipt.shards, receipt.versions, receipt.samples) == ((), (), (), ())
    assert photos.problems() == []
    photos.out = changed
    photos.build("key:cup", keep_versions=5, specialists=BRIGHTEST)
    (receipt,) = photos.receipts()
    assert {one.key for one in receipt.matched} == {"cup"}
    assert (len(receipt.samples), len(receipt.versions), len(receipt.shards)) == (1, 2, 2)
    assert photos.names() == ["astronaut", "cat", "cat_corner", "motorcycle", "pagoda"]
    assert photos.problems() == []


def killed_now(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_people_said_about_a_listed_image_is_gone(photos: Album) -> None:
    photos.build()
    output = Folder(str(photos.out))
    cat, cup = (sha256(photos.bytes_of(f"{name}.jpg")).hexdigest() for name in ("cat", "cup"))
    other = said("rejected", seen("b"), key="cup", sha256=cup)
    add_corrections(output, [said("rejected", seen("a"), sha256=cat), other])
    photos.build("key:cat")
    assert read_corrections(folder_of(output)) == [other]
    assert found_in(photos.out, cat) == []
    assert photos.problems() == []
