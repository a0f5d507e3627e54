"""Tars in every compression, joined and damaged: read to the last byte, or an error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from florilegium.engine.sources.webdataset import WebDatasetSource, stem_of
from tests.engine.sources.conftest import read_all, source_at

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compress = Callable[[bytes], bytes]


def alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


COMPRESSIONS: dict[str, Compress] = {
    "tar.gz": gzip.compress,
    "tgz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tbz2": bz2.compress,
    "tar.xz": lzma.compress,
    "txz": lzma.compress,
    "tar.lzma": alone,
    "tar.zst": zstd.compress,
}
MULTI_STREAM = ["tar.gz", "tar.bz2", "tar.xz", "tar.lzma", "tar.zst"]
every_compression = pytest.mark.parametrize("suffix", COMPRESSIONS)
every_codec = pytest.mark.parametrize("suffix", MULTI_STREAM)


def tar_of(*keys: str, image: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for key in keys:
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size = len(image)
            archive.addfile(info, io.BytesIO(image))
    return buffer.getvalue()


def keys_and_letters(
    path: Path, data: bytes, **options: object
) -> tuple[list[str], list[tuple[str, str]]]:
    path.write_bytes(data)
    source = source_at(path, **options)
    assert isinstance(source, WebDatasetSource)
    readings, letters = read_all(source)
    return [reading.name for reading in readings], [
        (letter.reason, letter.message) for letter in letters
    ]


@every_compression
def test_a_compressed_tar_is_read_whatever_its_name(
    tmp_path: Path, jpeg: bytes, suffix: str
) -> None:
    data = COMPRESSIONS[suffix](tar_of("a", "b", image=jpeg))
    for name in (f"0.{suffix}", f"1.{suffix.upper()}", "2.tar"):
        assert keys_and_letters(tmp_path / name, data) == (["a", "b"], []), name


@every_codec
def test_joined_streams_are_read_to_the_last(tmp_path: Path, jpeg: bytes, suffix: str) -> None:
    compress, path = COMPRESSIONS[suffix], tmp_path / f"0.{suffix}"
    one, other = tar_of("a", "b", image=jpeg), tar_of("c", "d", image=jpeg)
    assert keys_and_letters(path, compress(one) + compress(other)) == (list("abcd"), [])
    pieces = [one[start : start + 1000] for start in range(0, len(one), 1000)]
    assert keys_and_letters(path, b"".join(map(compress, pieces))) == (["a", "b"], [])
    mixed = gzip.compress(one) + compress(b"") + compress(other)
    assert keys_and_letters(path, mixed) == (list("abcd"), [])


def test_frames_that_zstandard_skips_are_skipped(tmp_path: Path, jpeg: bytes) -> None:
    skipped = b"\x5e\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"seek"
    data = zstd.compress(tar_of("a", image=jpeg))
    assert keys_and_letters(tmp_path / "0.tar.zst", skipped + data + skipped) == (["a"], [])


@every_codec
def test_zeros_behind_a_stream_are_padding(tmp_path: Path, jpeg: bytes, suffix: str) -> None:
    data = COMPRESSIONS[suffix](tar_of("a", image=jpeg))
    padded = data + bytes(100_000)
    assert keys_and_letters(tmp_path / f"0.{suffix}", padded) == (["a"], [])
    assert keys_and_letters(tmp_path / f"0.{suffix}", padded + data) == (["a", "a"], [])


@every_codec
@pytest.mark.parametrize("rest", [b"x", b"no stream at all" * 10_000])
def test_what_follows_the_compressed_data_is_told(
    tmp_path: Path, jpeg: bytes, suffix: str, rest: bytes
) -> None:
    data = COMPRESSIONS[suffix](tar_of("a", "b", image=jpeg)) + rest
    keys, ((reason, message),) = keys_and_letters(tmp_path / f"0.{suffix}", data)
    assert (keys, reason) == (["a", "b"], "corrupt_tar")
    assert "after b.jpg" in message
    assert "not compressed follows" in message


@every_codec
def test_a_cut_in_any_stream_is_told(tmp_path: Path, jpeg: bytes, suffix: str) -> None:
    compress = COMPRESSIONS[suffix]
    first = compress(tar_of("a", image=jpeg))
    data = first + compress(tar_of("b", image=jpeg))
    cuts = [*range(len(first) + 1, len(first) + 60), len(data) - 1, len(first) - 1]
    for cut in cuts:
        keys, letters = keys_and_letters(tmp_path / f"0.{suffix}", data[:cut])
        assert set(keys) <= {"a", "b"}
        assert [reason for reason, _ in letters] == ["corrupt_tar"], cut


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_false_checksum_is_told(tmp_path: Path, jpeg: bytes, suffix: str) -> None:
    data = bytearray(COMPRESSIONS[suffix](tar_of("a", image=jpeg)))
    at = {"tar.gz": -8, "tar.bz2": -4, "tar.xz": -20}[suffix]
    data[at] ^= 0xFF
    _, letters = keys_and_letters(tmp_path / f"0.{suffix}", bytes(data))
    assert [reason for reason, _ in letters] == ["corrupt_tar"]


@pytest.mark.parametrize(
    ("name", "magic", "compression"),
    [
        ("0.tar.lz4", b"\x04\x22\x4d\x18", "lz4"),
        ("0.tar.Z", b"\x1f\x9d", "compress"),
        ("0.tar.lz", b"LZIP\x01", "lzip"),
        ("0.tar.br", b"\x8b\x02", "brotli"),
        ("0.tar", b"\x04\x22\x4d\x18", "lz4"),
        ("0.tar.gz", b"PK\x03\x04", "zip"),
    ],
)
def test_a_compression_that_is_not_read_is_told_with_the_cure(
    tmp_path: Path, name: str, magic: bytes, compression: str
) -> None:
    (tmp_path / name).write_bytes(magic + b"anything" * 1000)
    source = source_at(tmp_path)
    assert isinstance(source, WebDatasetSource)
    readings, (letter,) = read_all(source)
    assert (readings, letter.reason) == ([], "unread_compression")
    assert compression in letter.message
    assert "compress it by gzip, bzip2, xz or Zstandard" in letter.message


def test_a_tar_whose_first_name_begins_like_a_compressed_file_is_a_tar(
    tmp_path: Path, jpeg: bytes
) -> None:
    for key in ("LZIP", "BZh9", "]"):
        assert keys_and_letters(tmp_path / "0.tar", tar_of(key, image=jpeg)) == ([key], [])


@every_codec
def test_memory_does_not_grow_with_what_the_bytes_expand_to(
    tmp_path: Path, jpeg: bytes, suffix: str
) -> None:
    """A header that claims much, and zeros that compress to almost nothing."""
    info = tarfile.TarInfo("a.bin")
    info.size = 64 << 20
    data = COMPRESSIONS[suffix](info.tobuf() + bytes(info.size) + tar_of("b", image=jpeg))
    path = tmp_path / f"0.{suffix}"
    tracemalloc.start()
    keys, letters = keys_and_letters(path, data, max_compression_ratio=1e9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (keys, [reason for reason, _ in letters]) == (["b"], ["no_image"])
    assert peak < 24_000_000


def test_the_stem_of_a_tar_is_its_name_without_the_whole_suffix() -> None:
    names = ["a/00000.tar", "a/00000.tar.gz", "a/00000.TGZ", "a/00000.tar.zst", "a/00000.tar.Z"]
    assert {stem_of(name) for name in names} == {"a/00000"}
    assert stem_of("v1.tar.d/x.tar") == "v1.tar.d/x"
