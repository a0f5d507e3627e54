from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.results.manifest import SIGNATURE
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.signature import check_signature, sign
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, build
from tests.sealing import reseal_files

pytestmark = pytest.mark.attack("changes")
UNKNOWN_PRIVATE = "MC4CAQAwBQYDK2V3BCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
UNKNOWN_PUBLIC = "MCowBQYDK2V3AyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
"""Keys of an algorithm with a number that nobody has."""


def write_keys(folder: Path, name: str, key: Any) -> tuple[Path, Path]:
    """Write a private key and its public one; return both paths."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(shown)
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "key", Ed25519PrivateKey.generate())


@pytest.fixture
def output(album: Path, tmp_path: Path) -> Folder:
    build(album, tmp_path / "out")
    return Folder(str(tmp_path / "out"))


def test_a_signature_holds_until_anything_is_changed(
    output: Folder, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    sign(output, private)
    assert [*check_signature(output, public), *verify_dataset(output)] == []
    report = Path(output.path("report.html"))
    report.write_bytes(report.read_bytes().replace(b"<body", b"<body "))
    reseal_files(tmp_path / "out")
    assert list(verify_dataset(output)) == [], "every digest fits"
    (problem,) = check_signature(output, public)
    assert "does not fit" in problem


@pytest.mark.parametrize("signature", [b"", b"x", b"AAAA\n", b"\xff" * 64])
def test_what_is_no_signature_does_not_fit(
    output: Folder, keys: tuple[Path, Path], signature: bytes
) -> None:
    output.publish(SIGNATURE, signature)
    (problem,) = check_signature(output, keys[1])
    assert "does not fit" in problem


def test_a_signature_of_somebody_else_does_not_fit(
    output: Folder, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    sign(output, write_keys(tmp_path, "other", Ed25519PrivateKey.generate())[0])
    (problem,) = check_signature(output, keys[1])
    assert "does not fit" in problem


def test_another_version_is_signed_by_nobody(
    album: Path, output: Folder, keys: tuple[Path, Path]
) -> None:
    sign(output, keys[0])
    build(album, Path(output.path("")))
    assert list(check_signature(output, keys[1])) == [], "the same version"
    build(album, Path(output.path("")), filters=BRIGHT_ENOUGH)
    (problem,) = check_signature(output, keys[1])
    assert "is not signed" in problem


def test_what_is_damaged_is_not_signed(output: Folder, keys: tuple[Path, Path]) -> None:
    output.publish("README.md", b"")
    with pytest.raises(StorageError, match="nothing was signed"):
        sign(output, keys[0])
    assert not output.exists(SIGNATURE)


def test_other_keys_are_refused_without_a_word_of_them(output: Folder, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "other", generate_private_key(SECP256R1()))
    (tmp_path / "none").write_text("a secret that is no key", encoding="utf-8")
    for name, octets in (("PRIVATE", UNKNOWN_PRIVATE), ("PUBLIC", UNKNOWN_PUBLIC)):
        text = f"-----BEGIN {name} KEY-----\n{octets}\n-----END {name} KEY-----\n"
        (tmp_path / name.lower()).write_text(text, encoding="ascii")
    unknown = (tmp_path / "private", tmp_path / "public", Path("/dev/zero"))
    for path in (*other, *unknown, tmp_path / "none", tmp_path / "absent"):
        with pytest.raises(ConfigError) as signing:
            sign(output, path)
        with pytest.raises(ConfigError) as checking:
            list(check_signature(output, path))
        messages = f"{signing.value} {checking.value}"
        assert "a secret" not in messages
        assert "PRIVATE" not in messages
