"""Handing values with tensors to another process, in memory that both map.

What is large (tensors, arrays, the bytes of images) is written once, into a file without a name,
and is not copied when it is received. The memory is free as soon as no process maps it: whichever
process dies, and however, nothing is left.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ALIGNMENT = 64
_SMALL = 4096
"""Bytes from which on a part is written into the file, and not into the message."""
_MOST_PARTS = 512  # of one write; the system allows 1024


def send(connection: Connection, value: Any) -> None:
    """Send a value; it is pickled as a whole before anything is sent.

    Raises:
        OSError: the other side is gone.
        Exception: the value cannot be pickled.
    """
    large: list[memoryview] = []

    def aside(part: pickle.PickleBuffer) -> bool:
        """Set a part aside; a true value leaves it in the message."""
        is_small = part.raw().nbytes < _SMALL
        if not is_small:
            large.append(part.raw())
        return is_small

    message = io.BytesIO()
    _Pickler(message, protocol=5, buffer_callback=aside).dump(value)
    if not large:
        connection.send_bytes(pickle.dumps(([], message.getvalue())))
        return
    file = _nameless_file()
    try:
        _write(file, large)
        connection.send_bytes(pickle.dumps(([one.nbytes for one in large], message.getvalue())))
        send_handle(connection, file, 0)
    finally:
        os.close(file)


def receive(connection: Connection) -> Any:
    """Receive a value, with its tensors and arrays where they lie; changes of them stay here.

    Raises:
        EOFError, OSError: the other side is gone.
        Exception: the value cannot be made here.
    """
    sizes, message = pickle.loads(connection.recv_bytes())
    if not sizes:
        return pickle.loads(message)
    file = recv_handle(connection)
    try:
        mapped = memoryview(mmap.mmap(file, sum(map(_padded, sizes)), access=mmap.ACCESS_COPY))
    finally:
        os.close(file)
    parts, start = [], 0
    for size in sizes:
        parts.append(mapped[start : start + size])
        start += _padded(size)
    return pickle.loads(message, buffers=parts)


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, which are set aside without a copy."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")  # where it is not imported, there are no tensors
        return _tensor_parts(value) if torch and isinstance(value, torch.Tensor) else NotImplemented


def _tensor_parts(tensor: Tensor) -> tuple[Any, ...]:
    """Return how a tensor on the host is made again, with the same order of its values in memory:
    a convolution may add up in another order for another one."""
    import torch

    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    if not tensor.permute(order).is_contiguous():
        tensor, order = tensor.contiguous(), list(range(tensor.dim()))
    values = tensor.detach().permute(order).reshape(-1).view(torch.uint8).numpy()
    return _tensor, (values, tensor.dtype, tuple(tensor.shape), tensor.stride())


def _tensor(
    values: np.ndarray, dtype: Any, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    import torch

    return torch.from_numpy(values).view(dtype).as_strided(shape, stride)


def _nameless_file() -> int:
    """Open a file in memory that no other process can open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("florilegium", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(file: int, parts: Sequence[memoryview]) -> None:
    """Write parts one after the other, each from a multiple of the alignment on."""
    left: list[memoryview] = []
    for part in parts:
        padding = bytes(_padded(part.nbytes) - part.nbytes)
        left += [part, memoryview(padding)] if padding else [part]
    while left:
        written = os.writev(file, left[:_MOST_PARTS])
        while left and written >= left[0].nbytes:
            written -= left.pop(0).nbytes
        if written:
            left[0] = left[0][written:]


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
