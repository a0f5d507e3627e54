"""What was made of a listed image is gone: from the dataset, its layers and its versions."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import pipelines.build
from engine.core.errors import ConfigError
from engine.execution import worker
from engine.execution.run import Run
from engine.planning.partition import ShardSpec
from engine.results.dataset import open_dataset
from engine.results.manifest import Manifest
from engine.results.shard import read_shard
from engine.results.takedowns import Receipt, read_receipts
from engine.storage.folder import Draft, Folder
from pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, build, contents
from tests.enriching import stages

CAT, CUP = "the cat of Mrs Quux looks left", "a cup that nobody else has"


class Album:
    """A folder of photographs with captions, a dataset of it, and a list."""

    def __init__(self, album: Path, folder: Path) -> None:
        self.photos = shutil.copytree(album, folder / "photos")
        (self.photos / "cat.txt").write_text(CAT)
        (self.photos / "cup.txt").write_text(CUP)
        self.out = folder / "out"
        self.list = folder / "takedown.txt"
        self.logs = folder / "logs"
        self.logs.mkdir()

    def build(self, *entries: str, **keys: Any) -> Manifest:
        """Build with a list of entries; forget what was asked before."""
        for log in self.logs.iterdir():
            log.unlink()
        self.list.write_text("# a list\n" + "".join(f"{one}\n" for one in entries))
        specialists = {**stages(self.logs), "echo": {"use": "tests.stages:Echo"}}
        defaults = {"shard_size": 4, "specialists": specialists, "takedown": str(self.list)}
        return build(self.photos, self.out, **{**defaults, **keys})

    def asked(self) -> dict[str, int]:
        """Return how often each stage that writes it down was asked in the last build."""
        return {log.name: len(log.read_text().splitlines()) for log in self.logs.iterdir()}

    def problems(self) -> list[str]:
        return list(verify_dataset(Folder(str(self.out))))

    def receipts(self) -> list[Receipt]:
        return read_receipts(Folder(str(self.out)))

    def names(self) -> list[str]:
        return [one.key for one in open_dataset(str(self.out))]

    def bytes_of(self, name: str) -> bytes:
        return (self.photos / name).read_bytes()


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Album:
    return Album(album, tmp_path)


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of every file, and of what is packed in it."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        yield name, data
        if path.suffix == ".tar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    yield f"{name}/{member.name}", tar.extractfile(member).read()  # type: ignore[union-attr]
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{name} rows", repr(table.to_pydict()).encode()
            yield f"{name} metadata", repr(table.schema.metadata).encode()


def found_in(folder: Path, *wanted: bytes | str) -> list[str]:
    """Return where one of these texts or bytes is, receipts and lists left out."""
    needles = [one.encode() if isinstance(one, str) else one for one in wanted]
    return [
        name
        for name, data in everything(folder)
        if not name.startswith("takedowns/") and any(one in data for one in needles)
    ]


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
    assert manifest.totals.inputs == before.totals.inputs == 12
    assert (manifest.totals.samples, manifest.totals.failures) == (11, {"taken_down": 1})
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
    assert manifest.totals.samples == 12 - match
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
    again = build(photos.photos, fresh, shard_size=4, takedown=str(photos.list))
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
    assert len(photos.names()) == 12
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


def test_an_image_that_the_source_lost_before_is_gone_from_versions_and_layers(
    photos: Album,
) -> None:
    photos.build(keep_versions=3)
    traces = traces_of_the_cat(photos)
    (photos.photos / "cat.jpg").unlink()
    photos.build(keep_versions=3)
    assert found_in(photos.out, *traces), "an earlier version and the layers have it"
    digest = sha256(traces[0]).hexdigest()  # type: ignore[arg-type]
    photos.build(f"sha256:{digest}", keep_versions=3)
    assert found_in(photos.out, *traces) == []
    (receipt,) = photos.receipts()
    assert [(one.key, one.sha256) for one in receipt.matched] == [("cat", digest)]
    assert len(receipt.versions) == len(receipt.shards) == 1
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
        patch.setattr(
            pipelines.build, "finish", lambda *arguments, **_: finishing.append(arguments)
        )
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
        try:
            pipelines.build.finish(run, manifest, before_switch=lambda: None)
        except KeyboardInterrupt:
            return True
    return False


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


def killed_now(*_: object) -> None:
    raise KeyboardInterrupt
