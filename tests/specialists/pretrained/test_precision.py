from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from florilegium.specialists.pretrained.precision import to_full_precision


class Head(torch.nn.Module):
    """A layer that is given features in a list and a reference by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2, dtype=torch.bfloat16)

    def forward(self, features: list[torch.Tensor], *, reference: Any, rows: torch.Tensor) -> Any:
        return self.layer(features[0])[rows] + reference["box"]


def asked(head: Head) -> torch.Tensor:
    narrow = torch.ones(3, 2, dtype=torch.bfloat16)
    predicted: torch.Tensor = head(
        [narrow], reference={"box": narrow}, rows=torch.tensor([0, 1, 2])
    )
    return predicted


def test_a_module_computes_in_float32_whatever_it_is_given() -> None:
    head = Head()
    to_full_precision(SimpleNamespace(dtype=torch.bfloat16), head)  # type: ignore[arg-type]
    assert asked(head).dtype == torch.float32
    weight, bias = head.layer.weight, head.layer.bias
    torch.testing.assert_close(asked(head), (weight.sum(dim=1) + bias + 1).expand(3, 2))


def test_a_network_in_float32_is_left_as_it_is() -> None:
    head = Head()
    to_full_precision(SimpleNamespace(dtype=torch.float32), head)  # type: ignore[arg-type]
    assert asked(head).dtype == torch.bfloat16
