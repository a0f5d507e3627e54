"""Names of datasets follow OpenLineage's conventions, so that catalogues join what tools report."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.pipelines.telemetry.dataset_names import AZURE_ACCOUNT, DatasetName, dataset_name


@pytest.mark.parametrize(
    ("url", "namespace", "name"),
    [
        ("/data/photos", "file", "/data/photos"),
        ("file:///data/photos/", "file", "/data/photos"),
        ("/data/photos/{000..009}/*.tar", "file", "/data/photos"),
        ("s3://bucket/photos/july/", "s3://bucket", "photos/july"),
        ("s3a://bucket/photos/*.tar", "s3://bucket", "photos"),
        ("s3://bucket", "s3://bucket", "/"),
        ("gs://bucket/out", "gs://bucket", "out"),
        ("gcs://bucket/out", "gs://bucket", "out"),
        (
            "abfss://images@account.dfs.core.windows.net/out",
            "abfss://images@account.dfs.core.windows.net",
            "out",
        ),
        ("hdfs://namenode:8020/out", "hdfs://namenode:8020", "/out"),
        ("zip://*.jpg::s3://bucket/photos.zip", "s3://bucket", "photos.zip"),
        ("shape_world://4?seed=1", "shape_world://4", "?seed=1"),
        ("package://skimage/data", "package://skimage", "/data"),
    ],
)
def test_a_url_has_the_name_that_other_tools_give_it(url: str, namespace: str, name: str) -> None:
    assert dataset_name(url) == DatasetName(namespace=namespace, name=name)


def test_a_relative_path_and_a_home_are_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert dataset_name("out/mine").name == str(tmp_path / "out" / "mine")
    assert dataset_name("~/Pictures").name == "/home/someone/Pictures"


def test_a_folder_that_has_a_bracket_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "photos [july]"
    folder.mkdir()
    assert dataset_name(str(folder)).name == str(folder)


def test_a_container_of_azure_has_the_account_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(AZURE_ACCOUNT, raising=False)
    assert dataset_name("az://images/out").namespace == "abfss://images"
    monkeypatch.setenv(AZURE_ACCOUNT, "account")
    named = DatasetName(namespace="abfss://images@account.dfs.core.windows.net", name="out")
    assert dataset_name("az://images/out") == named


def test_a_signature_is_masked() -> None:
    name = dataset_name("https://host/photos.tar?sig=abcdefghijk1234567").name
    assert name == "/photos.tar?sig=***"
