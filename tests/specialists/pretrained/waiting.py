"""A device that computes on the CPU, and counts what a GPU would be waited for.

A GPU works through a queue: the host waits whenever it needs a value or a size from there, and
whenever it moves memory without `non_blocking`. Tensors of this device keep their values on the
CPU; torch takes them for tensors of the device `meta`.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from florilegium.specialists.pretrained import network as network_module
from florilegium.specialists.pretrained.network import Network

DEVICE = torch.device("meta")
_SIZED_BY_VALUES = (
    *("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),
    *("_local_scalar_dense", "is_nonzero", "equal", "bincount"),
)
"""Operations whose result the host needs, or whose size depends on values."""
_FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray)
_ROOT = Path(network_module.__file__).resolve().parents[2]


class OnDevice(torch.Tensor):
    """A tensor of the device; `values` has the numbers."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        made.values = values
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.values!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise AssertionError(f"{func} outside of the block that counts")


class Waits:
    """The waits while the block ran, by the line of this package that waited."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start from 0."""
        self.by_line: Counter[str] = Counter()
        self.in_turn = 0
        """Waits while the device was locked."""
        self.batches = 0
        """Batches whose outputs left the device."""

    @property
    def total(self) -> int:
        """All waits."""
        return self.by_line.total()

    def add(self, what: str, *, in_turn: bool) -> None:
        """Count a wait."""
        line = [one for one in traceback.extract_stack() if _is_ours(one.filename)][-1]
        self.by_line[f"{Path(line.filename).name}:{line.lineno} {what}"] += 1
        self.in_turn += in_turn


def _is_ours(filename: str) -> bool:
    path = Path(filename).resolve()
    return path.is_relative_to(_ROOT / "specialists") or path.is_relative_to(_ROOT / "pipelines")


@contextmanager
def counted(*networks: Network) -> Iterator[Waits]:
    """Move networks to the device, and count what it is waited for in this thread."""
    waits = Waits()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch, "inference_mode", torch.no_grad
        )  # it hides operations from `_Dispatched`
        for one in networks:
            patch.setattr(one, "device", DEVICE)
            patch.setattr(one, "_leaving", _Leaving(one, waits))
            stack.enter_context(_moved(one.model))
        stack.enter_context(_Dispatched(waits, networks))
        stack.enter_context(_FromData())
        yield waits


class _Leaving:
    """In place of `Network._leaving`: copies are awaited together, once."""

    def __init__(self, network: Network, waits: Waits) -> None:
        self._network, self._waits = network, waits

    def __call__(self, tensors: Any) -> Any:
        leaves = tree_leaves(tensors)
        assert all(isinstance(one, OnDevice) for one in leaves), "an output is not on the device"

        def wait() -> None:
            self._waits.batches += 1
            self._waits.add("outputs", in_turn=self._network._device_lock.locked())

        return network_module._Outputs(tree_map(_values, tensors), wait)


@contextmanager
def _moved(model: torch.nn.Module) -> Iterator[None]:
    """Move the weights of a model to the device while the block runs."""
    tables = [table for one in model.modules() for table in (one._parameters, one._buffers)]
    before = [dict(table) for table in tables]
    moved: dict[int, OnDevice] = {}  # tied weights stay tied
    for table in tables:
        for name, tensor in table.items():
            if tensor is not None:
                table[name] = moved.setdefault(id(tensor), OnDevice(tensor.detach()))  # type: ignore[assignment]
    try:
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.update(old)


class _FromData(TorchFunctionMode):
    """Tensors from Python objects are made on the CPU, then moved."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FROM_DATA and _is_device(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(DEVICE)
        if func is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].cpu().tolist()
        if func is torch.Tensor.__getitem__ and isinstance(args[0], OnDevice):
            args = args[0], _index(args[1])
        return func(*args, **kwargs)


def _index(index: Any) -> Any:
    """Return an index with lists as tensors of the host, as torch makes them on the device."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(list(index)) if isinstance(index, list | range) else index


class _Dispatched(TorchDispatchMode):
    """Computes on the CPU what concerns the device, and counts waits."""

    def __init__(self, waits: Waits, networks: tuple[Network, ...]) -> None:
        super().__init__()
        self._waits, self._networks = waits, networks

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        is_from = any(isinstance(one, OnDevice) for one in tensors)
        is_to = kwargs["device"].type == DEVICE.type if kwargs.get("device") else is_from
        if not is_from and not is_to:
            return func(*args, **kwargs)
        if self._is_waited_for(func.overloadpacket.__name__, args, kwargs, tensors, is_to=is_to):
            locked = any(one._device_lock.locked() for one in self._networks)
            self._waits.add(str(func), in_turn=locked)
        if is_to and "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        result = func(*tree_map(_values, args), **tree_map(_values, kwargs))
        return tree_map(_on_device, result) if is_to else result

    def _is_waited_for(
        self, name: str, args: Any, kwargs: dict[str, Any], tensors: Any, *, is_to: bool
    ) -> bool:
        is_mixed = any(not isinstance(one, OnDevice) and one.ndim for one in tensors)
        if name == "_to_copy":
            return (is_mixed or not is_to) and not kwargs.get("non_blocking")
        if name == "copy_":
            return is_mixed and not (len(args) > 2 and args[2])
        if name in ("index", "index_put_", "_index_put_impl_"):
            indices = [one for one in args[1] if one is not None]
            return any(not isinstance(one, OnDevice) or one.dtype == torch.bool for one in indices)
        assert not is_mixed, f"{name} of tensors on two devices"
        if name == "repeat_interleave":
            return isinstance(args[-1], torch.Tensor) and not kwargs.get("output_size")
        return name in _SIZED_BY_VALUES


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _values(one: Any) -> Any:
    return one.values if isinstance(one, OnDevice) else one


def _on_device(one: Any) -> Any:
    is_plain = isinstance(one, torch.Tensor) and not isinstance(one, OnDevice)
    return OnDevice(one) if is_plain else one
