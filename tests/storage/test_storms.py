"""Sources of each kind on object storage; storages that fail at random, or go down anywhere."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.storage import lease
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import LEASES
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build
from tests.end_to_end.conftest import Command
from tests.end_to_end.test_object_storage import KEYS, SHARD_SIZE
from tests.fault_proxy import Proxy, Request, no_fault, passing_faults
from tests.object_storage import ObjectStorage, files_of, promised, upload
from tests.processes import wait_for

SOURCES = ("folder", "webdataset", "parquet", "img2dataset")


@pytest.fixture(scope="module")
def sources(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs as a source of each kind, with captions."""
    root = tmp_path_factory.mktemp("sources")
    files = sorted(path for path in album.iterdir() if path.suffix == ".jpg")
    shutil.copytree(album, root / "folder")
    for file in files:
        (root / "folder" / f"{file.stem}.txt").write_text(f"A {file.stem}.", "utf-8")
    for kind in ("webdataset", "img2dataset", "parquet"):
        (root / kind).mkdir()
    with tarfile.open(root / "webdataset" / "0.tar", "w") as tar:
        for file in files:
            for suffix, data in ((".jpg", file.read_bytes()), (".txt", b"A picture.")):
                member = tarfile.TarInfo(f"{file.stem}{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    shutil.copy(root / "webdataset" / "0.tar", root / "img2dataset" / "0.tar")
    status = [{"key": file.stem, "status": "success"} for file in files]
    pq.write_table(pa.Table.from_pylist(status), root / "img2dataset" / "0.parquet")
    rows = [{"image": file.read_bytes(), "caption": f"A {file.stem}."} for file in files]
    pq.write_table(pa.Table.from_pylist(rows), root / "parquet" / "0.parquet", row_group_size=2)
    return root


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_on_object_storage_gives_the_samples_of_a_local_one(
    bucket: str, sources: Path, tmp_path: Path, kind: str
) -> None:
    url = upload(sources / kind, f"{bucket}/{kind}")
    build(url, f"{bucket}/out", shard_size=SHARD_SIZE)  # type: ignore[arg-type]
    build(sources / kind, tmp_path / "out", shard_size=SHARD_SIZE)
    assert files_of(f"{bucket}/out", "shards") == files_of(str(tmp_path / "out"), "shards")


@pytest.mark.attack("faults")
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_build_on_a_storage_that_fails_has_the_bytes_of_an_undisturbed_one(
    watched: Proxy, photos: str, output: str, seed: int
) -> None:
    build(photos, f"{output}-calm", **KEYS)  # type: ignore[arg-type]
    watched.clear()
    watched.fault = passing_faults(seed, 0.2)
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    assert watched.faults.total() >= 10
    watched.fault = no_fault
    assert promised(output) == promised(f"{output}-calm")
    assert not list(verify_dataset(Folder(output)))


@pytest.mark.attack("faults")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", SOURCES)
def test_an_outage_of_the_source_ends_the_run_and_costs_no_image_and_no_caption(
    watched: Proxy, object_storage: ObjectStorage, sources: Path, kind: str
) -> None:
    bucket = object_storage.new_bucket()
    url, output = upload(sources / kind, f"{bucket}/{kind}"), f"{bucket}/out"
    build(url, f"{output}-calm")  # type: ignore[arg-type]
    for number in range(2):  # which of the reads fails
        watched.fault = failing_from(number, under=kind)
        with pytest.raises(StorageError, match="run the same command again"):
            build(url, output)  # type: ignore[arg-type]
    watched.fault = no_fault
    build(url, output)  # type: ignore[arg-type]
    assert promised(output) == promised(f"{output}-calm")


def failing_from(first: int, *, under: str = "") -> Any:
    """Return the fault of a storage that fails from one request on, of those below a folder that
    are no listing."""
    count = 0

    def fault(request: Request) -> str:
        nonlocal count
        is_counted = request.kind != "LIST" and request.path.startswith(
            f"{under}/" if under else ""
        )
        count += is_counted
        return "unavailable" if is_counted and count > first else ""

    return fault


@pytest.mark.attack("faults")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("first", range(5, 120, 15))
def test_after_a_storage_went_down_the_same_command_resumes(
    watched: Proxy,
    photos: str,
    output: str,
    written: Any,
    florilegium: Command,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
) -> None:
    config = written(photos, output, **KEYS)
    monkeypatch.setattr(lease, "WAITS_S", (0.0,))
    watched.fault = failing_from(first)
    done = florilegium("build", config)
    assert done.code == 1
    problems = [line for line in done.err.splitlines() if line.startswith("error")]
    assert len(problems) == 1, done.err
    assert problems[0].endswith("run the same command again later, it resumes")
    assert "Traceback" not in done.err
    watched.fault = no_fault
    for name in Folder(output).names(LEASES):  # it ends with its process, which here lives on
        Folder(output).remove(f"{LEASES}/{name}")
    assert florilegium("build", config).code == 0
    build(photos, f"{output}-calm", **KEYS)  # type: ignore[arg-type]
    assert files_of(output, "shards") == files_of(f"{output}-calm", "shards")
    assert florilegium("verify", output).code == 0


@pytest.mark.parametrize("uploads", [3, 12, 24])
def test_a_killed_build_is_resumed_by_the_same_command(
    watched: Proxy,
    photos: str,
    output: str,
    written: Any,
    florilegium: Command,
    started: Callable[..., subprocess.Popen[str]],
    uploads: int,
) -> None:
    config = written(photos, output, **KEYS)
    process = started("build", config)
    assert wait_for(lambda: watched.kinds()["PUT"] >= uploads, seconds=120)
    process.kill()
    process.wait()
    assert florilegium("build", config).code == 0, "the lease of a process that died here ends"
    build(photos, f"{output}-calm", **KEYS)  # type: ignore[arg-type]
    assert files_of(output, "shards") == files_of(f"{output}-calm", "shards")
    assert florilegium("verify", output).code == 0
