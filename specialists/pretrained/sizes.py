"""Limits on the sizes of networks and images in a config, compared with the size of the weights.

A single number in a config may demand a terabyte. The size of the network is compared with that of
the weights before memory is allocated.
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

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.image.header import MAX_PIXELS

MAX_HEADER_BYTES = 16 << 20
"""Maximum bytes of the header of a safetensors file."""
MAX_SIZE = 1 << 20
"""Maximum width, depth or count in a config."""
MAX_POSITIONS = 1 << 27
"""Maximum number of positions or pixels in a config."""
MAX_SIDE = 1 << 14
"""Maximum side of an input image in pixels."""
SLACK = 1 << 26
"""Parameters that a network may have beyond twice those of its weights: masks, position tables."""
MAX_RANDOM = 1 << 36
"""Maximum parameters of a network with random weights."""
MAX_RANDOM_MODULES = 100_000
"""Maximum modules of such a network."""

_COUNTS = re.compile(
    r"(num|n|max|min)_\w+|\w*(size|sizes|dim|dims|width|height|layers?|depths?|heads|blocks|stages|"
    r"channels|queries|levels|experts|points|labels|groups|positions|embeddings|patches|tokens|"
    r"ranks?|units|kernels?|strides?|edge|divisor|divisibility)"
)
_LARGE = re.compile(r"\w*(position|pixels|length|window|edge|value|norm|temperature)\w*")


def problem_of_sizes(name: str, value: Any) -> str:
    """Return why a size in a config is implausible; "" if it is not."""
    if isinstance(value, dict):
        return _problem_of_image(value) if name.endswith("size") else ""
    if not _COUNTS.fullmatch(name):
        return ""
    most = MAX_POSITIONS if _LARGE.fullmatch(name) else MAX_SIZE
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, int | float) and number > most:
            return f"is {number:g}, more than the limit of {most}"
    if name in ("size", "crop_size", "pad_size") and any(_is_beyond(one) for one in numbers):
        return f"asks for images of more than {MAX_SIDE} px a side"
    return ""


def _problem_of_image(size: dict[str, Any]) -> str:
    height, width = size.get("height"), size.get("width")
    if _is_beyond(height) or _is_beyond(width):
        return f"asks for images of more than {MAX_SIDE} px a side"
    # Families with a number of pixels store it as edges.
    edges = [size.get(name) for name in ("shortest_edge", "longest_edge")]
    if any(isinstance(edge, int | float) and edge > MAX_PIXELS for edge in edges):
        return f"asks for images of more than {MAX_PIXELS} pixels"
    return ""


def _is_beyond(side: object) -> bool:
    return isinstance(side, int | float) and side > MAX_SIDE


@dataclass(frozen=True, kw_only=True)
class WeightsSize:
    """The number of tensors of weights, and of their elements."""

    tensors: int
    numbers: int


def size_of_weights(model: str, paths: Iterable[Path]) -> WeightsSize:
    """Read the headers of files of weights, which show whether they are complete.

    Raises:
        ConfigError: a file is cut off, or its header is damaged, too long or inconsistent.
    """
    tensors = numbers = 0
    for path in paths:
        for shape in _shapes(model, path):
            tensors += 1
            numbers += prod(shape)
    return WeightsSize(tensors=tensors, numbers=numbers)


def _shapes(model: str, path: Path) -> Iterator[list[int]]:
    """Yield the shape of each tensor of a file, after safetensors has checked the header: offsets
    without overlaps and gaps, sizes that match type and shape."""
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
    """Stop building a network in the block as soon as it is larger than its weights.

    Tensors are counted while they have no memory yet (device `meta`). With random weights the limit
    is `MAX_RANDOM`.

    Raises:
        ConfigError: it has far more modules or elements than the weights.
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
