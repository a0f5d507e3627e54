from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from tests.building import build
from tests.engine.sources.web import WebServer

SIGNED = "X-Amz-Date=20260101&X-Amz-Signature=CANARY"


def a_tar(count: int) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number in range(count):
            file = io.BytesIO()
            Image.new("RGB", (40, 30), (60 * number, 20, 20)).save(file, "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
    return data.getvalue()


FILES = {"/a/x.tar": a_tar(2), "/a/y.tar": a_tar(1)}


@pytest.mark.attack("secrets")
def test_a_signed_address_is_read_and_written_without_its_signature(tmp_path: Path) -> None:
    with WebServer(FILES, signature="X-Amz-Signature=") as server:
        url = f"{server.url}/a/{{x,y}}.tar"
        first = build(f"{url}?{SIGNED}", tmp_path / "out")
        assert first.totals.samples == 3
        assert first.source == (f"{url}?X-Amz-Date=***&X-Amz-Signature=***",)
        asked = len(server.asked)
        again = build(f"{url}?X-Amz-Date=2&X-Amz-Signature=CANARY2", tmp_path / "out")
        assert again.to_json() == first.to_json(), "signed anew it is the same source"
        assert not [one for one in server.asked[asked:] if one.startswith("/a/?")]
    for path in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert b"CANARY" not in path.read_bytes(), path


@pytest.mark.attack("secrets")
def test_an_address_that_opens_nothing_is_not_repeated(tmp_path: Path) -> None:
    with (
        WebServer(FILES, signature="other") as server,
        pytest.raises(ConfigError, match=r"x\.tar\?X-Amz-Date=\*\*\*") as refused,
    ):
        build(f"{server.url}/a/x.tar?{SIGNED}", tmp_path / "out")
    assert "CANARY" not in str(refused.value)


@pytest.mark.attack("network")
def test_a_redirect_does_not_lead_a_source_to_another_server(tmp_path: Path) -> None:
    with WebServer(FILES) as other:
        moved = {"/a/x.tar": f"{other.url}/a/x.tar", "/a/z.tar": "/a/y.tar"}
        with WebServer(FILES, moved=moved) as server:
            assert build(f"{server.url}/a/z.tar", tmp_path / "z").totals.samples == 1
            with pytest.raises(ConfigError, match="redirects to another server"):
                build(f"{server.url}/a/x.tar", tmp_path / "x")
        assert not other.asked
