"""A small dataset as the documentation has it, and a folder for each page to stand in."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from PIL import Image

from florilegium import open_dataset
from florilegium.engine.planning.config import load_document
from tests.conftest import ROOT
from tests.docs.page import Console, run_command

PICTURES = {"cat": 160, "cup": 160, "page": 160, "rocket": 240}
"""Photographs, with the longer side in pixels at which each gets captions of every length."""


@pytest.fixture(scope="session")
def first_build(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose `Pictures` were built by the first command of README, into `work/out/mine`."""
    home = tmp_path_factory.mktemp("home")
    (home / "Pictures").mkdir()
    (home / "work").mkdir()
    for name, side in PICTURES.items():
        with Image.open(photographs[name]) as photograph:
            small = photograph.convert("RGB")
        small.thumbnail((side, side))
        small.save(home / "Pictures" / f"{name}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home / "work")
        run_command(
            *("florilegium", "build", str(ROOT / "configs" / "quickstart.yaml")),
            *("--source", str(home / "Pictures"), "--output", "out/mine"),
        )
    work = home / "work"
    shutil.copytree(work / "out" / "mine", work / "out" / "of_config")
    document = load_document(ROOT / "configs" / "quickstart.yaml")
    document |= {"source": str(home / "Pictures"), "output": "out/of_config"}
    (work / "mine.yaml").write_text(yaml.safe_dump(document), "utf-8")
    (work / "audit.jsonl").write_text("\n".join(_audit(work / "out" / "mine")), "utf-8")
    _write_keys(work)
    return home


def _audit(dataset: Path) -> Iterator[str]:
    """Yield the lines of an audit that finds every kept caption right."""
    for sample in open_dataset(str(dataset)).select(verdict="kept"):
        for one in sample.annotations:
            if one.kind == "text":
                yield json.dumps({"id": one.id, "right": True})


def _write_keys(folder: Path) -> None:
    """Write a pair of Ed25519 keys, as `openssl genpkey` does."""
    private = Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "key.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.fixture
def console(
    first_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Console]:
    """A folder in which a page is run, with what pages name: `configs/`, a finished `out/mine`,
    an audit of it, keys, and `mine.yaml`, a config whose output is finished, too."""
    shutil.copytree(first_build / "work", tmp_path, dirs_exist_ok=True)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setenv("HOME", str(first_build))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Console(tmp_path)
    for name, module in list(sys.modules.items()):  # of the page
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
