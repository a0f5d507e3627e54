"""Source and output on object storage, as a user works with them; and when it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build
from tests.end_to_end.conftest import Command
from tests.fault_proxy import Proxy, Request, no_fault, passing_faults
from tests.object_storage import ObjectStorage, files_of, promised, upload

IMAGES = 12
SHARD_SIZE = 3
SHARDS = 4
FIXED_REQUESTS = 60
NEW_SHARD_REQUESTS = 5 + 2 * 3
"""Its three files, its receipt, and three layers: a look at each, and its upload."""
OLD_SHARD_REQUESTS = 0
REPORT_REQUESTS = 6
"""Of each shard, when a report is drawn."""
VERIFY_REQUESTS = 5 + 3
"""Of each shard, and one for each of its layers."""
KEYS: Mapping[str, Any] = {
    "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": SHARD_SIZE,
}  # fmt: skip


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
    config = written(photos, output, **{**KEYS, "shard_size": IMAGES // 2})
    assert florilegium("build", config).code == 0
    before = promised(output)
    assert florilegium("build", config).code == 0
    assert promised(output) == before, "nothing is new"
    found = json.loads(florilegium("status", output, "--json").out)
    assert (found["samples"], found["shards"]) == (IMAGES, 2)
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
    done = florilegium("verify", output)
    assert done.code == 1
    assert name in done.err
    dataset.publish(f"shards/{name}", whole)


@pytest.mark.attack("faults")
def test_a_build_on_a_storage_that_fails_has_the_bytes_of_an_undisturbed_one(
    watched: Proxy, photos: str, output: str, album: Path, tmp_path: Path
) -> None:
    watched.fault = passing_faults(0, 0.2)
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    assert watched.faults.total() >= 10
    watched.fault = no_fault
    build(album, tmp_path, **KEYS)
    assert files_of(output, "shards") == files_of(str(tmp_path), "shards")


@pytest.mark.attack("faults")
@pytest.mark.usefixtures("hasty")
def test_an_outage_of_the_source_ends_the_run_and_costs_no_image(
    watched: Proxy, photos: str, output: str, album: Path, tmp_path: Path
) -> None:
    reads = 0

    def fail(request: Request) -> str:
        nonlocal reads
        reads += request.kind == "GET" and request.path.startswith("photos/")
        return "unavailable" if reads > 7 else ""

    watched.fault = fail
    with pytest.raises(StorageError, match="run the same command again later, it resumes"):
        build(photos, output, **KEYS)  # type: ignore[arg-type]
    watched.fault = no_fault
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    build(album, tmp_path, **KEYS)
    assert files_of(output, "shards") == files_of(str(tmp_path), "shards")


def test_what_a_build_asks_of_a_storage_is_bounded(
    watched: Proxy, photos: str, output: str, album: Path
) -> None:
    """`docs/how-to/object-storage.md` has these numbers: fixed ones, for each shard and image."""
    new = IMAGES + (NEW_SHARD_REQUESTS + REPORT_REQUESTS) * SHARDS
    watched.clear()
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    assert len(watched.requests) <= FIXED_REQUESTS + new
    watched.clear()
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    assert len(watched.requests) <= FIXED_REQUESTS + OLD_SHARD_REQUESTS * SHARDS
    upload(album, f"{photos}/z")
    watched.clear()
    build(photos, output, **KEYS)  # type: ignore[arg-type]
    old = (OLD_SHARD_REQUESTS + REPORT_REQUESTS) * SHARDS
    assert len(watched.requests) <= FIXED_REQUESTS + new + old
    watched.clear()
    assert not list(verify_dataset(Folder(output)))
    assert len(watched.requests) <= FIXED_REQUESTS + VERIFY_REQUESTS * 2 * SHARDS
