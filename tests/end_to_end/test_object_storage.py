"""Source and output on object storage, as a user works with them; and when it fails."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import StorageError
from engine.results.dataset import open_dataset
from engine.storage import lease
from engine.storage.folder import Folder
from engine.storage.lease import LEASES
from pipelines.dataset.files import CARD
from pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build
from tests.end_to_end.conftest import Command
from tests.fault_proxy import Proxy, Request, no_fault, passing_faults
from tests.object_storage import ObjectStorage

IMAGES = 12
SHARD_SIZE = 3
SHARDS = 4
KEYS: Mapping[str, Any] = {
    "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": SHARD_SIZE,
}  # fmt: skip


def upload(folder: Path, url: str) -> str:
    """Copy a local folder to object storage, and return its URL there."""
    fs, path = fsspec.url_to_fs(url, use_listings_cache=False)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            fs.pipe_file(f"{path}/{file.relative_to(folder)}", file.read_bytes())
    return url


def files_of(url: str, *folders: str) -> dict[str, bytes]:
    """Return the bytes of the files in these folders of a dataset, by name."""
    folder = Folder(url)
    names = [f"{under}/{name}" for under in folders for name in folder.names(under)]
    return {name: folder.read(name) or b"" for name in names}


def promised(url: str) -> dict[str, bytes]:
    """Return the bytes of all files that a build promises to repeat."""
    folder = Folder(url)
    others = ("dead_letters.parquet", "manifest.json", CARD, "report.html", "statistics.json")
    return {**files_of(url, "shards"), **{name: folder.read(name) or b"" for name in others}}


@pytest.fixture
def photos(watched: Proxy, object_storage: ObjectStorage, album: Path) -> str:
    """The URL of a folder of photographs on the storage behind the proxy."""
    return upload(album, f"{object_storage.new_bucket()}/photos")


@pytest.fixture
def output(photos: str) -> str:
    return photos.replace("photos", "out")


def test_every_command_works_on_object_storage(
    bucket: str,
    album: Path,
    tmp_path: Path,
    written: Any,
    florilegium: Command,
) -> None:
    photos, output = upload(album, f"{bucket}/photos"), f"{bucket}/out"
    config = written(photos, output, **KEYS)
    assert florilegium("build", config, "--dry-run").code == 0
    assert florilegium("build", config).code == 0
    before = promised(output)
    assert florilegium("build", config).code == 0
    assert promised(output) == before, "nothing is new"
    found = json.loads(florilegium("status", output, "--json").out)
    assert (found["samples"], found["shards"]) == (IMAGES, SHARDS)
    assert "cup.jpg" in florilegium("why", output, "cup.jpg").out
    assert florilegium("report", output).out.strip().endswith("out/report.html")
    assert promised(output) == before
    sign_and_verify(output, tmp_path, florilegium)
    coco = florilegium("export", output, "--format", "coco", "--output", tmp_path / "coco")
    assert coco.code == 0
    assert len(list((tmp_path / "coco").rglob("*.jpg"))) == IMAGES
    assert florilegium("build", config, "--set", "filters.enough.minimum=0.9").code == 0
    assert promised(output) != before, "another threshold, other verdicts"
    assert "deleted" in florilegium("clean", output).out
    assert florilegium("verify", output).code == 0


def sign_and_verify(output: str, folder: Path, florilegium: Command) -> None:
    """Sign a dataset with a new key, check that, and find a byte that was changed."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / "private.pem", folder / "public.pem"
    pem = forms.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, forms.PublicFormat.SubjectPublicKeyInfo))
    assert florilegium("sign", output, "--key", private).code == 0
    assert florilegium("verify", output, "--public-key", public).code == 0
    dataset = Folder(output)
    name = next(one for one in dataset.names("shards") if one.endswith(".tar"))
    whole = dataset.read(f"shards/{name}") or b""
    dataset.publish(f"shards/{name}", whole[:1000] + b"\1" + whole[1001:])
    told = florilegium("verify", output)
    assert told.code == 1
    assert name in told.err
    dataset.publish(f"shards/{name}", whole)


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore:Exception ignored in")
def test_a_dataset_on_object_storage_is_read_by_the_readers_that_people_use(
    bucket: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import webdataset as wds

    build(album, f"{bucket}/out", **KEYS)  # type: ignore[arg-type]
    keys = sorted(path.stem for path in album.iterdir())
    ours = open_dataset(f"{bucket}/out")
    assert sorted(sample.key for shard in ours.shards for sample in ours.samples(shard)) == keys
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # our storage is on loopback
    tars = [f"{bucket}/out/shards/{name}.tar" for name in ours.shards]
    theirs = datasets.load_dataset(
        "webdataset", data_files=tars, split="train", cache_dir=str(tmp_path)
    )
    assert sorted(theirs["__key__"]) == keys
    streams = [{"url": tar, "stream": fsspec.open(tar).open()} for tar in tars]
    assert (
        sorted(
            one["__key__"]
            for one in wds.tariterators.tar_file_expander(streams)
            if one["fname"].endswith(".json")
        )
        == keys
    )
    rows = pq.read_table(f"{bucket}/out/shards", filesystem=fsspec.filesystem("s3"))
    assert rows.num_rows


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
@pytest.mark.parametrize("seed", range(2))
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
@pytest.mark.parametrize("first", [5, 40, 80, 110])
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
    told = florilegium("build", config)
    assert told.code == 1
    problems = [line for line in told.err.splitlines() if line.startswith("error")]
    assert len(problems) == 1, told.err
    assert problems[0].endswith("run the same command again later, it resumes")
    assert "Traceback" not in told.err
    watched.fault = no_fault
    for name in Folder(output).names(LEASES):  # it ends with its process, which here lives on
        Folder(output).remove(f"{LEASES}/{name}")
    assert florilegium("build", config).code == 0
    build(photos, f"{output}-calm", **KEYS)  # type: ignore[arg-type]
    assert files_of(output, "shards") == files_of(f"{output}-calm", "shards")
    assert florilegium("verify", output).code == 0
