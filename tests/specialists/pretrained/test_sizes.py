"""Weights and configs that lie about how large they are."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.florence2.checkpoint import load_florence2, resolve_florence2
from florilegium.specialists.pretrained.sizes import MAX_HEADER_BYTES, WeightsSize, size_of_weights

pytestmark = pytest.mark.attack("models")

Tiny = Callable[[int], Path]


@pytest.fixture
def copy(tiny_florence2: Tiny, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_florence2(0), tmp_path / "stranger"))


def tensor(shape: list[Any], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def weights(header: Any, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


WHOLE = {"a": tensor([2], 0, 8)}
LIES: dict[str, bytes] = {
    "a header of exabytes": weights(WHOLE, length=2**63),
    "a header of gigabytes": weights(WHOLE, length=5 << 30),
    "a header of more than is read": weights(WHOLE, length=MAX_HEADER_BYTES + 1),
    "a header longer than the file": weights(WHOLE, length=4096),
    "no header": weights(b""),
    "nothing": b"",
    "seven bytes": bytes(7),
    "offsets that overlap": weights({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "two tensors in one place": weights({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}),
    "a gap": weights({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
    "offsets that run back": weights({"a": tensor([2], 8, 0)}),
    "offsets behind the end": weights({"a": tensor([1 << 20], 0, 1 << 22)}),
    "bytes that nobody owns": weights(WHOLE, bytes(64)),
    "a shape of exabytes": weights({"a": tensor([2**31, 2**31, 4], 0, 8)}),
    "a shape that wraps round": weights({"a": tensor([2**32, 2**32], 0, 0)}, b""),
    "a negative shape": weights({"a": tensor([-2], 0, 8)}),
    "a shape that is no number": weights({"a": tensor(["2"], 0, 8)}),
    "a shape of another size than its bytes": weights({"a": tensor([3], 0, 8)}),
    "an unknown type": weights({"a": tensor([2], 0, 8, "OBJECT")}),
    "a type of another size than its bytes": weights({"a": tensor([2], 0, 8, "F64")}),
    "metadata that are no text": weights({"__metadata__": {"a": [1]}, **WHOLE}),
    "metadata that are a list": weights({"__metadata__": [], **WHOLE}),
    "a tensor that is none": weights({"a": [1, 2]}),
    "a header that is a list": weights([]),
    "a header that is no JSON": weights(b"{'a': 1}"),
    "a header that is no text": weights(b"\xff" * 16),
    "a deep header": weights(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("name", LIES)
def test_weights_whose_header_lies_are_refused_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[name])
    with pytest.raises(
        ConfigError, match=r"'stranger': .*model\.safetensors is damaged: "
    ) as caught:
        size_of_weights("stranger", [path])
    assert "\n" not in str(caught.value)


def test_the_size_of_weights_is_that_of_all_their_files(tmp_path: Path) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    first.write_bytes(
        weights({"__metadata__": {"format": "pt"}, "a": tensor([2, 3], 0, 24)}, bytes(24))
    )
    second.write_bytes(weights({"b": tensor([], 0, 4), "c": tensor([4], 4, 12, "F16")}, bytes(12)))
    assert size_of_weights("x", [first, second]) == WeightsSize(tensors=3, numbers=11)


def change(folder: Path, *path: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    place = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("text_config", "encoder_layers"), 1_000_000, "asks for more than"),
        (("text_config", "decoder_layers"), 1_000_000, "asks for more than"),
        (("text_config", "max_position_embeddings"), 100_000_000, "asks for more than"),
        (("text_config", "d_model"), 1_000_000, "asks for more than"),
        (("text_config", "vocab_size"), 1_000_000, "cannot be loaded: .*mismatched_sizes"),
    ],
)
def test_a_network_far_larger_than_its_weights_is_not_built(
    copy: Path, path: tuple[str, ...], value: int, message: str
) -> None:
    """Each number passes for one of some model; together with these weights it does not."""
    change(copy, *path, value=value)
    with pytest.raises(ConfigError, match=message):
        load_florence2(resolve_florence2(str(copy)))


def test_a_network_that_is_only_measured_has_a_limit_too(copy: Path) -> None:
    change(copy, "text_config", "d_model", value=1 << 20)
    change(copy, "vision_config", "projection_dim", value=1 << 20)
    with pytest.raises(ConfigError, match=r"more than \d+ numbers, which no machine holds"):
        load_florence2(resolve_florence2(str(copy), is_random=True))


def test_another_thread_may_build_what_it_likes(copy: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from florilegium.specialists.pretrained.sizes import no_larger_than

    def build() -> int:
        with torch.device("meta"):
            return torch.nn.Linear(1 << 14, 1 << 14).weight.numel()

    with no_larger_than("x", WeightsSize(tensors=1, numbers=1)):
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(build).result() == 1 << 28
        with pytest.raises(ConfigError, match="asks for more than 67108866 numbers"):
            build()
    assert build()
