"""Running the box layers of a network in float32, whatever the dtype of the rest.

bfloat16 numbers between 0.5 and 1 are 1/256 apart: four pixels in an image of a thousand. The last
layers are cheap, and their inputs precise enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

    from florilegium.specialists.pretrained.network import Network


def to_full_precision(network: Network, *modules: Module) -> None:
    """Make modules of a network compute in float32 and accept inputs of any dtype."""
    import torch

    if network.dtype == torch.float32:
        return
    for module in modules:
        module.float()
        module.register_forward_pre_hook(_with_float_inputs, with_kwargs=True)


def _with_float_inputs(
    _: Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return _float(inputs), _float(named)


def _float(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: _float(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_float(one) for one in value)
    return value
