"""Comparing the weights of two trainings."""

from __future__ import annotations

from pathlib import Path


def share_of_weights_apart(first: Path, second: Path) -> float:
    """Return the share of the weights that are not alike after one step of two trainings.

    AdamW's first step is the sign of the gradient, which rounding turns where it is about 0.
    """
    import torch
    from safetensors.torch import load_file

    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    return float(
        torch.cat([((one[name] - two[name]).abs() > 1e-4).flatten() for name in one]).float().mean()
    )
