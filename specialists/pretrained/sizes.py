"""How large a network and its images may be by what a config says, and how large weights are.

A number in a config costs nothing to write and may ask for a terabyte. What a network of a
config has is compared with what its weights have before memory is taken.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError
from engine.core.image import MAX_PIXELS

MAX_HEADER_BYTES = 16 << 20
"""Bytes of the header of a safetensors file."""
MAX_SIZE = 1 << 20
"""The largest width, depth or number of anything in a config."""
MAX_POSITIONS = 1 << 27
"""The largest number of positions or pixels in a config."""
MAX_SIDE = 1 << 14
"""Pixels of the side of an image that a model asks for."""
SLACK = 1 << 26
"""Numbers that a network may have beyond twice those of its weights: masks, tables of positions."""
MAX_RANDOM = 1 << 36
"""Numbers of a network that is built without weights, to measure it."""
MAX_RANDOM_MODULES = 100_000
"""Modules of such a network."""

_COUNTS = re.compile(
    r"(num|n|max|min)_\w+|\w*(size|sizes|dim|dims|width|height|layers?|depths?|heads|blocks|stages|"
    r"channels|queries|levels|experts|points|labels|groups|positions|embeddings|patches|tokens|"
    r"ranks?|units|kernels?|strides?|edge|divisor|divisibility)"
)
_LARGE = re.compile(r"\w*(position|pixels|length|window|edge|value|norm|temperature)\w*")


def problem_of_sizes(name: str, value: Any) -> str:
    """Say why what a config asks for cannot be; nothing where it can."""
    if isinstance(value, dict):
        return _problem_of_image(value) if name.endswith("size") else ""
    if not _COUNTS.fullmatch(name):
        return ""
    most = MAX_POSITIONS if _LARGE.fullmatch(name) else MAX_SIZE
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, int | float) and number > most:
            return f"is {number:g}, more than {most} of anything no model has"
    if name in ("size", "crop_size", "pad_size") and any(_is_beyond(one) for one in numbers):
        return f"asks for images of more than {MAX_SIDE} px a side"
    return ""


def _problem_of_image(size: dict[str, Any]) -> str:
    height, width = size.get("height"), size.get("width")
    if _is_beyond(height) or _is_beyond(width):
        return f"asks for images of more than {MAX_SIDE} px a side"
    # Families that count pixels give them as edges.
    edges = [size.get(name) for name in ("shortest_edge", "longest_edge")]
    if any(isinstance(edge, int | float) and edge > MAX_PIXELS for edge in edges):
        return f"asks for images of more than {MAX_PIXELS} pixels"
    return ""


def _is_beyond(side: object) -> bool:
    return isinstance(side, int | float) and side > MAX_SIDE


@dataclass(frozen=True, kw_only=True)
class WeightsSize:
    """How many tensors weights have, and how many numbers in all."""

    tensors: int
    numbers: int


def size_of_weights(model: str, paths: Iterable[Path]) -> WeightsSize:
    """Read the headers of files of weights, which tell whether they are whole.

    Raises:
        ConfigError: a file is cut off, or its header is damaged, too long or lies.
    """
    tensors = numbers = 0
    for path in paths:
        for shape in _shapes(model, path):
            tensors += 1
            numbers += prod(shape)
    return WeightsSize(tensors=tensors, numbers=numbers)


def _shapes(model: str, path: Path) -> Iterator[list[int]]:
    """Yield the shape of each tensor of a file, after its own library has checked the header:
    offsets that neither overlap nor leave a gap, and bytes that are those of type and shape."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(
                    f"its header has {length} bytes, at most {MAX_HEADER_BYTES} are read"
                )
            header = file.read(length)
        with safe_open(path, framework="np"):
            pass
        tensors = json.loads(header)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"model {model!r}: {path} is damaged: {error}; fetch or save it again"
        ) from error
    yield from (one["shape"] for name, one in tensors.items() if name != "__metadata__")


@contextmanager
def no_larger_than(model: str, size: WeightsSize | None) -> Iterator[None]:
    """Stop a network that is being built as soon as it is larger than its weights.

    Tensors are counted when they have a shape and no memory yet (on the device `meta`). Without
    weights it may have `MAX_RANDOM` numbers.

    Raises:
        ConfigError: it has far more modules or numbers than there are.
    """
    from torch.nn.modules import module as hooks

    most_numbers = 2 * size.numbers + SLACK if size else MAX_RANDOM
    most_modules = 20 * size.tensors + 1000 if size else MAX_RANDOM_MODULES
    count = {"numbers": 0, "modules": 0}
    this_thread = threading.get_ident()

    def refuse(what: str, most: int) -> None:
        raise ConfigError(
            f"model {model!r}: its config asks for more than {most} {what}, "
            + (f"its weights are {size.numbers} numbers in {size.tensors} tensors; they do not "
               "belong together" if size else "which no machine holds")
        )  # fmt: skip

    def on_tensor(_: Any, name: str, tensor: Any) -> None:
        if tensor is None or not tensor.is_meta or threading.get_ident() != this_thread:
            return
        count["numbers"] += tensor.numel()
        if count["numbers"] > most_numbers:
            refuse("numbers", most_numbers)

    def on_module(_: Any, name: str, child: Any) -> None:
        if child is None or threading.get_ident() != this_thread:
            return
        count["modules"] += 1
        if count["modules"] > most_modules:
            refuse("layers", most_modules)

    handles = [
        hooks.register_module_parameter_registration_hook(on_tensor),
        hooks.register_module_buffer_registration_hook(on_tensor),
        hooks.register_module_module_registration_hook(on_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
