"""Batches of a network: which inputs share one, and how they are stacked on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.specialists.pretrained.by_table import PIXELS, Table

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNMENT = 64  # that of torch: sums may be rounded otherwise at another one

Inputs = Sequence[Mapping[str, "Tensor"]]
"""Tensors by name for each input, without a batch dimension."""


def of_one_shape(inputs: Inputs, *, size: int, max_pixels: int) -> Iterator[list[int]]:
    """Split inputs, by their indices, into batches of one shape, at most `size` inputs, and at most
    `max_pixels` where more than one is in it."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, one in enumerate(inputs):
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in one.items())
        groups.setdefault(shapes, []).append(number)
    for group in groups.values():
        pixels = sum(_pixels(name, tensor) for name, tensor in inputs[group[0]].items())
        yield from cut(group, min(size, max(1, max_pixels // max(pixels, 1))))


def cut(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut numbers into pieces of a size, the last of which may be shorter."""
    for start in range(0, len(numbers), size):
        yield list(numbers[start : start + size])


def _pixels(name: str, tensor: Tensor) -> int:
    return tensor.numel() // 3 if tensor.is_floating_point() or _is_image(name, tensor) else 0


def _is_image(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is an image that is neither rescaled nor normalised."""
    import torch

    return name == PIXELS and tensor.dtype == torch.uint8


def stacked(
    inputs: Inputs, dtype: Any, *, table: Table | None = None, is_pinned: bool = False
) -> dict[str, Tensor]:
    """Stack inputs of the same shapes, floats in a torch dtype; images become what a table in that
    dtype has for them. Memory is pinned for a GPU."""
    found = {}
    for name in inputs[0]:
        tensors = [one[name] for one in inputs]
        if table and _is_image(name, tensors[0]):
            batch = _empty((len(tensors), *tensors[0].shape), dtype, is_pinned)
            found[name] = table.stacked(tensors, batch)
        else:
            found[name] = _stacked(tensors, dtype, is_pinned)
    return found


def _stacked(tensors: Sequence[Tensor], dtype: Any, is_pinned: bool) -> Tensor:
    import torch

    own = dtype if tensors[0].is_floating_point() else tensors[0].dtype
    batch = torch.stack([tensor.to(own) for tensor in tensors])
    return batch.pin_memory() if is_pinned else batch


def _empty(shape: tuple[int, ...], dtype: Any, is_pinned: bool) -> Tensor:
    """Return new memory. That of torch has pages of 4 KiB where it is not pinned, and to be given
    them takes longer than to fill them; numpy asks the system for huge ones."""
    import torch

    if is_pinned:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return torch.from_numpy(memory[start : start + size]).view(dtype).view(shape)
