"""A month of refreshes: a source that grows, changes and shrinks, with failures on the way.

Readers have a whole version every evening, and at the end the bytes are those of one build from
nothing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.dataset import manifest_of, open_dataset
from florilegium.engine.results.manifest import read_dead_letters
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.dataset.files import HELD_BACK, REFRESH
from florilegium.pipelines.dataset.refreshed import read_refreshed, version_of
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, contents
from tests.pipelines.refresh.pictures import config_of, picture, refresh

DAYS = 30
KILLED = frozenset({4, 9, 13, 18, 22, 27})
"""Days on which the refresh is killed while it writes a file."""
REFUSED = frozenset({6, 15, 24})
"""Days on which a stage refuses some images."""
OUTAGE = 11
"""The day on which most of the source is not there; the next day it is back."""
CLEARED = 20
"""The day on which most of the source is deleted for good; the next day that is accepted."""


class Archive:
    """The source: what its files should be, and a generator that decides what happens."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.random = random.Random(seed)
        self._made = 0
        folder.mkdir()
        self.grow(8)

    def pass_a_day(self) -> None:
        """Add, change, caption, rename, break and delete a few images, or do nothing."""
        happening = self.random.randrange(8)
        if happening < 3:  # each time opens a shard
            self.grow(self.random.randint(2, 5))
        if happening in (1, 2, 3):
            self._write(self._some_image(), self._picture())
        if happening in (2, 3, 4):
            caption = f"{Path(self._some_image()).stem}.txt"
            self._write(caption, f"A view of day {self._made}.".encode())
        if happening in (3, 5):
            old = self._some_image()
            self._write(f"renamed_{self._made}.png", self.files[old])
            self._delete(old)
        if happening in (4, 5, 6):
            self._delete(self._some_image())
        if happening == 6:
            self._write(f"broken_{self._made}.png", b"no picture")

    def grow(self, count: int) -> None:
        """Add images."""
        for _ in range(count):
            self._write(f"image_{self._made:03d}.png", self._picture())

    def lose_most(self) -> dict[str, bytes]:
        """Delete most of the images with their captions; return all these files."""
        before = dict(self.files)
        for name in self.images[1::2] + self.images[::4]:
            self._delete(name)
        return {name: data for name, data in before.items() if name not in self.files}

    def restore(self, lost: Mapping[str, bytes]) -> None:
        """Write deleted files again."""
        for name, data in lost.items():
            self._write(name, data)

    @property
    def images(self) -> list[str]:
        """The names of the images, broken ones too."""
        return sorted(name for name in self.files if name.endswith(".png"))

    def digests(self) -> dict[str, str]:
        """Return the digest of each image by its key."""
        return {Path(name).stem: sha256(self.files[name]).hexdigest() for name in self.images}

    def _some_image(self) -> str:
        return self.random.choice([name for name in self.images if "broken" not in name])

    def _picture(self) -> bytes:
        self._made += 1
        return picture(self._made)

    def _write(self, name: str, data: bytes) -> None:
        self._made += 1
        self.files[name] = data
        (self.folder / name).write_bytes(data)

    def _delete(self, name: str) -> None:
        for one in (name, f"{Path(name).stem}.txt"):
            self.files.pop(one, None)
            (self.folder / one).unlink(missing_ok=True)


def view(output: Path) -> dict[str, str]:
    """Return what a reader sees: the digest of the source's bytes of each image, by key; all files
    of the current version are read."""
    dataset = open_dataset(str(output))
    samples = {sample.key: sample for sample in dataset}
    assert len(samples) == len(dataset)
    for sample in samples.values():
        assert sample.pixels().shape == (12, 16, 3)
        assert {one.task for one in sample.annotations} >= {"tag"}
    return {key: sample.sha256 for key, sample in samples.items()}


def lost(output: Path) -> set[str]:
    return {row["key"] for row in read_dead_letters(Folder(str(output)))}


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the process be interrupted while it writes its file number `count`, or its last ones."""
    original = Folder.publish
    written = 0

    def publish(self: Folder, name: str, data: Any, **options: Any) -> None:
        nonlocal written
        written += not name.startswith(".lease")
        if written == count:
            raise KeyboardInterrupt
        original(self, name, data, **options)

    monkeypatch.setattr(Folder, "publish", publish)


@pytest.mark.parametrize("seed", [1])
def test_a_month_of_refreshes_ends_with_the_bytes_of_one_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    archive, output = Archive(tmp_path / "source", seed), tmp_path / "out"
    refused = tmp_path / "refused"
    refused.write_text("", "utf-8")
    fickle = {"use": "tests.stages:Fickle", "refused": str(refused)}
    keys: dict[str, Any] = {
        "specialists": {**DESCRIBED, "fickle": fickle, "tags": {"use": "tests.stages:Echo"}},
        "filters": BRIGHT_ENOUGH,
        "max_dead_letter_share": 0.5,
        "refresh": {"limits": {"max_dropped_share": 0.3}},
    }
    outcomes: list[str] = []
    may_fail: set[str] = set()
    away: dict[str, bytes] = {}
    for day in range(DAYS):
        archive.restore(away)
        away = {}
        if day not in (OUTAGE, OUTAGE + 1, CLEARED, CLEARED + 1):
            archive.pass_a_day()
        may_fail.update(Path(one).stem for one in archive.images if "broken" in one)
        if day in REFUSED:
            may_fail.update(Path(one).stem for one in archive.images[-4:])
            refused.write_text(" ".join(Path(one).stem for one in archive.images[-4:]), "utf-8")
        if day in (OUTAGE, CLEARED):
            gone = archive.lose_most()
            away = gone if day == OUTAGE else {}
        before = view(output) if day else {}
        try:
            with monkeypatch.context() as patch:
                if day in KILLED:
                    kill_at(patch, archive.random.randint(1, 30))
                record = refresh(archive.folder, output, accept=day == CLEARED + 1, **keys)
            outcomes.append(record.outcome)
        except KeyboardInterrupt:
            outcomes.append("killed")
        refused.write_text("", "utf-8")
        after = view(output)
        if outcomes[-1] in ("published", "nothing"):
            assert after.keys() | lost(output) == archive.digests().keys(), day
            assert after.items() <= archive.digests().items()
        elif after != before:
            assert outcomes[-1] == "killed", day
            assert after.items() <= archive.digests().items(), day
            assert archive.digests().keys() - after.keys() <= may_fail, day
        if day in (OUTAGE, CLEARED):  # with a version beside it that waits
            assert list(verify_dataset(Folder(str(output)))) == []
    assert outcomes[OUTAGE] == outcomes[CLEARED] == "held_back"
    assert outcomes[OUTAGE + 1] == "nothing"
    assert outcomes[CLEARED + 1] == "published"
    assert {"published", "nothing", "killed", "held_back"} == set(outcomes)
    assert list(verify_dataset(Folder(str(output)))) == []

    refresh(archive.folder, output, retry=True, **keys)
    refresh(archive.folder, output, accept=True, **keys)  # of a small source a third is soon gone
    assert list(verify_dataset(Folder(str(output)))) == []
    assert not (output / HELD_BACK).exists()
    assert view(output).keys() | lost(output) == archive.digests().keys()
    assert all("broken" in key for key in lost(output))
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(output / "index.parquet", again)
    build_dataset(prepare(config_of(archive.folder, again, **keys).run))
    assert contents(output) == contents(again)
    fresh = tmp_path / "fresh"
    refresh(archive.folder, fresh, **keys)
    records = [read_refreshed(Folder(str(one)), REFRESH) for one in (output, fresh)]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].version == version_of(manifest_of(Folder(str(output))))
    assert records[0].distributions == records[1].distributions
    samples = [{sample.key: sample for sample in open_dataset(str(one))} for one in (output, fresh)]
    assert samples[0] == samples[1]
