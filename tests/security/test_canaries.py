"""Secrets of every kind go into a build, and are searched for in every byte that comes out."""

from __future__ import annotations

import io
import logging
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from florilegium.engine.results.manifest import read_manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.commands.main import main
from tests.engine.sources.web import WebServer
from tests.security.talkative import VARIABLES, forms_of
from tests.specialists.online.server import Behaviour, MisbehavingServer, ok, status

pytestmark = pytest.mark.attack("secrets")

KEY = "canary-of-the-service/7+x"
SIGNATURE = "canary-of-the-signature"
TOKEN = "canary-of-the-query"
CANARIES = {name: f"canary-of-{name.lower()}/1+y" for name in VARIABLES}
ALL = (KEY, SIGNATURE, TOKEN, *CANARIES.values())

Told = tuple[int, str]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVER", KEY)  # a name that tells nothing
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Call the command line; return its exit code and all that it printed."""

    def call(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["florilegium", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return code if isinstance(code, int) else int(code is not None), "".join(capfd.readouterr())

    return call


def a_tar(start: int) -> bytes:
    """Three images, the last cut off, and metadata with a signed address of its own."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number in range(3):
            file = io.BytesIO()
            pixels = np.full((60, 80, 3), 20 * (start + number), np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            address = f"https://anna:{TOKEN}@host/{number}.png?id=3&X-Amz-Signature={SIGNATURE}"
            image = file.getvalue()[: 50 if number == 2 else None]
            texts = {"png": image, "json": yaml.safe_dump({"url": address}).encode()}
            texts["json"] = b'{"url": "%s"}' % address.encode()
            for extension, content in texts.items():
                member = tarfile.TarInfo(f"{start}{number}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def leaks(text: bytes | str) -> list[str]:
    """Return the canaries in a text, plain or in another way of writing them."""
    content = text.encode() if isinstance(text, str) else text
    return [
        secret
        for secret in ALL
        for form in (secret, secret[:-2], *forms_of(secret))
        if form.encode() in content
    ]


def searched(folder: Path) -> set[str]:
    """Search every file of a folder, and return their names."""
    names = set()
    for path in (one for one in folder.rglob("*") if one.is_file()):
        contents = [path.read_bytes()]
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            contents += [repr(table.to_pylist()).encode(), repr(table.schema.metadata).encode()]
        for content in contents:
            assert leaks(content) == [], path
        assert leaks(str(path)) == []
        names.add(path.name)
    return names


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_no_secret_is_in_what_a_build_writes_or_prints(
    runner: str, command: Callable[..., Told], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    echo = f"key {KEY} is unknown, url https://anna:{TOKEN}@host/?token={SIGNATURE}"
    away = Behaviour(
        status=302, body=echo.encode(), headers=(("Location", f"http://h/?token={KEY}"),)
    )
    orders = (
        status(400, message=echo),
        status(500, message=f"{'x' * 290}{echo}"),
        Behaviour(body=f"<html>{echo}".encode()),
        away,
        ok(f"A photograph of {KEY}."),
    )
    files = {"/a/x.tar": a_tar(0), "/a/y.tar": a_tar(5), "/a/z.tar": a_tar(9)[:9000]}
    with MisbehavingServer(*orders) as server, WebServer(files, signature=SIGNATURE) as web:
        signed = f"sv=1&se=2026&sig={SIGNATURE}&token={TOKEN}"
        config = {
            "source": f"{web.url}/a/{{x,y,z}}.tar?{signed}",
            "output": str(tmp_path / "out"),
            "runner": {"kind": runner, "workers": 1, "object_store_mb": 80},
            "max_dead_letter_share": 1.0,
            "specialists": {
                "asked": {
                    "use": "tests.specialists.online.stages:AskedCaption",
                    "url": server.url,
                    "api_key_env": "MODEL_SERVER",
                    "attempts": 1,
                    "concurrency": 1,
                },
                "talkative": {"use": "tests.security.talkative:Talkative"},
            },
        }
        (tmp_path / "run.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        printed = [command("build", tmp_path / "run.yml")]
        assert printed[0][0] == 0, printed
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        printed += [command("build", tmp_path / "run.yml", "--retry-dead-letters")]
        printed += [command("build", tmp_path / "run.yml", "--dry-run")]
        wrong = config["source"].replace("{x,y,z}", "gone")  # type: ignore[attr-defined]
        printed += [command("build", tmp_path / "run.yml", "--source", wrong)]
    printed += [command("build", tmp_path / "run.yml")]  # nobody is there any more
    out = tmp_path / "out"
    printed += [command(name, out) for name in ("status", "verify", "report")]
    printed += [command("why", out, "x--00")]
    for code, text in printed:
        assert leaks(text) == [], code
    assert leaks(caplog.text) == []
    names = searched(out)
    assert {"run.yaml", "run.log", "dead_letters.parquet", "index.parquet", "report.html"} <= names
    manifest: Any = read_manifest(Folder(str(out)))
    assert manifest["source"] == [f"{web.url}/a/{{x,y,z}}.tar?sv=1&se=***&sig=***&token=***"]
    assert manifest["totals"]["dead_letters"] >= 5


@pytest.mark.parametrize(
    "option",
    [
        f"output=s3://anna:{TOKEN}@bucket/out",
        f"source=https://anna:{TOKEN}@host/x.tar",
        f"specialists.asked.api_key={TOKEN}",
        f"specialists.asked.url=https://host/v1?api_key={TOKEN}",
        f"runner.address=ray://anna:{TOKEN}@head:1",
        f"shard_size=https://anna:{TOKEN}@host",
        f"unknown=https://anna:{TOKEN}@host",
        f"source=https://127.0.0.1:1/x.tar?sig={TOKEN}",
        f"layers=[https://anna:{TOKEN}@host",
        f"password={TOKEN}",
    ],
)
def test_what_is_refused_is_not_repeated(
    option: str, command: Callable[..., Told], tmp_path: Path
) -> None:
    config = {"source": str(tmp_path), "output": "out", "specialists": {"asked": {}}}
    (tmp_path / "run.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    code, text = command("build", tmp_path / "run.yml", "--set", option)
    assert code in (1, 2)
    assert leaks(text) == []
