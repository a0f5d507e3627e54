"""A dataset on object storage, read by the readers that people use."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from florilegium.engine.results.dataset import open_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore:Exception ignored in")
def test_a_dataset_on_object_storage_is_read_by_the_readers_that_people_use(
    bucket: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import webdataset as wds

    build(album, f"{bucket}/out", specialists=DESCRIBED, filters=BRIGHT_ENOUGH, shard_size=3)  # type: ignore[arg-type]
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
    files = wds.tariterators.tar_file_expander(streams)
    samples = wds.tariterators.group_by_keys(one for one in files if "fname" in one)
    assert sorted(one["__key__"] for one in samples) == keys
    tables = [tar.removeprefix("s3://").replace(".tar", ".parquet") for tar in tars]
    assert (
        sorted(set(pq.read_table(tables, filesystem=fsspec.filesystem("s3"))["key"].to_pylist()))
        == keys
    )
