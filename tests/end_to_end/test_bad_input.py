"""Every kind of bad input through the real stages: annotated or counted, never lost."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.manifest import Manifest
from florilegium.pipelines.build import build_dataset
from tests.configs import load_config
from tests.end_to_end.conftest import QUICKSTART, Command

BOMB_SIDE = 60_000


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A small PNG that unpacks to gigabytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def pictures(cat: Image.Image) -> dict[str, bytes]:
    """Pictures that are odd but good, by file name."""
    frames = [cat.resize((60, 40)), cat.resize((60, 40)).rotate(90)]
    deep = (np.asarray(cat.convert("L")).astype(np.uint16) << 8) + 77
    strip = Image.fromarray(np.random.default_rng(0).integers(0, 255, (3, 20_000, 3), np.uint8))
    jpeg = encoded(cat, "JPEG")
    return {
        "good.jpg": jpeg,
        "really_a_png.jpg": encoded(cat, "PNG"),
        "really_a_jpeg.tiff": jpeg,
        "no_suffix": jpeg,
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "cmyk.jpg": encoded(cat.convert("CMYK"), "JPEG"),
        "sixteen_bits.png": encoded(Image.fromarray(deep), "PNG"),
        "palette.png": encoded(cat.convert("P"), "PNG"),
        "transparent.png": encoded(cat.convert("RGBA"), "PNG"),
        "grey.jpg": encoded(cat.convert("L"), "JPEG"),
        "one_bit.png": encoded(cat.convert("1"), "PNG"),
        "one_pixel.png": encoded(cat.resize((1, 1)), "PNG"),
        "wide.png": encoded(strip, "PNG"),
        "tall.png": encoded(strip.transpose(Image.Transpose.ROTATE_90), "PNG"),
        "dots.in.the.name.jpg": jpeg,
        "spaces in the name.jpg": jpeg,
        "line\nbreak.jpg": jpeg,
        "\U0001f408.jpg": jpeg,
        "\U0001f415.jpg": jpeg,
        "up..up.jpg": jpeg,
        "up..\\windows.jpg": jpeg,
        "éclair 名前.jpg": jpeg,
        f"{'long' * 60}.jpg": jpeg,
        "UPPER.JPG": jpeg,
        "same.jpg": jpeg,
        "same.png": encoded(cat, "PNG"),
        "folder/same.jpg": jpeg,
    }


REFUSED = {
    "empty.jpg": "empty_file",
    "text.png": "not_an_image",
    "bomb.png": "too_many_pixels",
    "link_to_nothing.jpg": "unreadable_file",
    "link_to_itself.jpg": "unreadable_file",
    "cut_header.jpg": "not_an_image",
}
"""Files that are no pictures, with the reason; the next one is noticed by a stage."""
CUT = "cut_pixels.jpg"


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture(scope="module")
def hostile(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of odd and bad files and a folder of odd and bad tars."""
    root = tmp_path_factory.mktemp("hostile")
    folder, tars = root / "folder", root / "tars"
    (folder / "folder").mkdir(parents=True)
    tars.mkdir()
    with Image.open(photographs["cat"]) as photograph:
        cat = photograph.convert("RGB").resize((160, 110))
    jpeg = encoded(cat, "JPEG")
    for name, data in pictures(cat).items():
        (folder / name).write_bytes(data)
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("not a picture", encoding="utf-8")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "cut_header.jpg").write_bytes(jpeg[:30])
    (folder / CUT).write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "link_to_nothing.jpg").symlink_to("nowhere.jpg")
    (folder / "link_to_itself.jpg").symlink_to("link_to_itself.jpg")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "folder" / "up").symlink_to("..", target_is_directory=True)
    (folder / "notes.md").write_text("no picture, and does not say it is one", encoding="utf-8")
    os.mkfifo(folder / "pipe.jpg")
    keys = [("x.jpg", jpeg), ("x.txt", b"one"), ("y.jpg", jpeg), ("x.jpg", jpeg), ("x.txt", b"two")]
    (tars / "duplicate_keys.tar").write_bytes(tar_of(keys))
    climbing = [("../../evil.jpg", jpeg), ("/etc/evil.jpg", jpeg), ("no_image.txt", b"alone")]
    (tars / "climbing.tar").write_bytes(tar_of(climbing))
    whole = tar_of([(f"{number}.jpg", jpeg) for number in range(3)])
    (tars / "cut.tar").write_bytes(whole[: len(jpeg) * 2])
    (tars / "corrupt.tar").write_bytes(whole[:700] + b"\xff" * 400 + whole[1100:])
    (tars / "noise.tar").write_bytes(np.random.default_rng(1).bytes(5000))
    (tars / "empty.tar").touch()
    return root


@pytest.fixture(scope="module")
def built(hostile: Path) -> tuple[Path, Manifest]:
    """The quickstart over both folders."""
    sources = [str(hostile / "folder"), str(hostile / "tars")]
    changes = {"source": sources, "output": str(hostile / "out"), "shard_size": 20}
    config = load_config(
        QUICKSTART, changes=changes, overrides=["runner.kind=in_process", "max_dead_letter_share=1"]
    )
    return hostile / "out", build_dataset(prepare(config))


def keys_and_sources(output: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted((output / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    sample = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                    found.append((sample["key"], sample["source"]))
    return found


def test_every_odd_picture_is_annotated(built: tuple[Path, Manifest], hostile: Path) -> None:
    with Image.open(hostile / "folder" / "good.jpg") as image:
        wanted = len(pictures(image.convert("RGB")))
    output, _ = built
    in_folder = [source for _, source in keys_and_sources(output) if ".tar/" not in source]
    assert len(in_folder) == len(set(in_folder)) == wanted


def test_every_bad_file_is_a_dead_letter_with_its_reason(built: tuple[Path, Manifest]) -> None:
    letters = pq.read_table(built[0] / "dead_letters.parquet").to_pylist()
    by_source = {letter["source"]: letter for letter in letters}
    for name, reason in REFUSED.items():
        assert (by_source[name]["stage"], by_source[name]["reason"]) == ("source", reason), name
        assert by_source[name]["message"]
    assert by_source[CUT]["reason"] == "corrupt_image"
    assert by_source["pipe.jpg"]["reason"] == "unreadable_file"


def test_samples_and_dead_letters_are_all_the_inputs(
    built: tuple[Path, Manifest], hostile: Path
) -> None:
    output, manifest = built
    totals = manifest.totals
    assert totals.inputs == totals.samples + totals.dead_letters
    in_folder = [path for path in (hostile / "folder").rglob("*") if not path.is_dir()]
    in_folder = [path for path in in_folder if path.name != "notes.md"]
    letters = [letter for _, letter in manifest.dead_letters]
    sources = [source for _, source in keys_and_sources(output)]
    sources += [letter.source for letter in letters]
    from_folder = [source for source in sources if ".tar" not in source]
    assert len(from_folder) == len(set(from_folder)) == len(in_folder)


def test_no_tar_is_silently_missing(built: tuple[Path, Manifest]) -> None:
    output, manifest = built
    letters = Counter(one.source.partition("/")[0] for _, one in manifest.dead_letters)
    samples = Counter(source.partition("/")[0] for _, source in keys_and_sources(output))
    assert samples["duplicate_keys.tar"] == 3
    assert letters["duplicate_keys.tar"] == 0
    assert (samples["climbing.tar"], letters["climbing.tar"]) == (2, 1)
    assert samples["cut.tar"] >= 1
    for name in ("cut.tar", "corrupt.tar", "noise.tar", "empty.tar"):
        assert letters[name] >= 1, name
    assert not (output.parent / "evil.jpg").exists()


def test_keys_are_fit_for_tars_and_unique_in_the_dataset(built: tuple[Path, Manifest]) -> None:
    found = keys_and_sources(built[0])
    assert all(key.replace("-", "_").isidentifier() or key[0].isdigit() for key, _ in found)
    assert all(len(key.encode()) <= 92 and "." not in key for key, _ in found)
    assert len({key for key, _ in found}) == len(found)


def test_the_dataset_passes_its_check(built: tuple[Path, Manifest], florilegium: Command) -> None:
    done = florilegium("verify", built[0])
    assert done.code == 0, done.err


def test_a_rerun_has_nothing_to_do(built: tuple[Path, Manifest], hostile: Path) -> None:
    output, manifest = built
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    sources = [str(hostile / "folder"), str(hostile / "tars")]
    changes = {"source": sources, "output": str(output), "shard_size": 20}
    config = load_config(
        QUICKSTART, changes=changes, overrides=["runner.kind=in_process", "max_dead_letter_share=1"]
    )
    assert build_dataset(prepare(config)) == manifest
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_file_that_may_not_be_read_is_a_dead_letter(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not stop the superuser, so the system's answer is played."""
    import builtins

    from tests.building import build

    opened = builtins.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("cup.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    manifest = build(album, tmp_path / "out")
    ((_, letter),) = manifest.dead_letters
    assert (letter.key, letter.reason, letter.message) == (
        "cup",
        "unreadable_file",
        "Permission denied",
    )
    assert manifest.totals.samples == 11
