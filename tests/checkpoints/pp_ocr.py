"""Tiny PP-OCR detectors and recognisers of every model type, untrained but not silent.

Their images are prepared by torchvision, so only `tests/torchvision` can ask them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

NEEDS_TORCHVISION = True

LETTERS = "abcdefghijklmnopqrstuvwxyz "
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_HGNET = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 16, 16],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 16, 16, 32],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "hidden_sizes": [16, 16, 16, 32],
    "depths": [1, 1, 1, 1],
}
_ALONG = {"stem_strides": [2, 1, 1, 1, 1]}
"""A line is halved in height more often than in length."""
_INTRACLASS = {
    "reduce_channel": [1, 1, 0],
    "return_channel": [1, 1, 0],
    **{
        f"{name}_{ratio}ratio": [kernel(side), [1, 1], padding(side)]
        for name, kernel, padding in (
            ("vertical_long_to_small_conv", lambda side: [side, 1], lambda side: [side // 2, 0]),
            ("horizontal_small_to_long_conv", lambda side: [1, side], lambda side: [0, side // 2]),
            ("symmetric_conv_long", lambda side: [side, side], lambda side: [side // 2] * 2),
        )
        for ratio, side in (("long", 7), ("mid", 5), ("short", 3))
    },
}


def options(folder: Path) -> dict[str, Any]:
    """Return the options of `pp_ocr` with the smallest of both kinds."""
    return {
        "model": str(write_detector(folder / "detector")),
        "recogniser": str(write_recogniser(folder / "recogniser")),
    }


def write_detector(folder: Path, model_type: str = "pp_ocrv5_mobile_det", seed: int = 0) -> Path:
    """Write a detector that sees text in half of any image."""
    from transformers import AutoModelForObjectDetection, PPOCRV5ServerDetImageProcessor

    model = _untrained(AutoModelForObjectDetection, model_type, _DETECTORS[model_type], seed)
    finals = [layer for name, layer in model.head.named_modules() if name.endswith("_final")]
    for layer in finals:
        _awaken(model, layer, (96, 128), spread=6)
    return _saved(folder, model, PPOCRV5ServerDetImageProcessor(limit_side_len=320))


def write_recogniser(folder: Path, model_type: str = "pp_ocrv5_mobile_rec", seed: int = 0) -> Path:
    """Write a recogniser that reads letters everywhere, rather sure of itself."""
    import torch
    from transformers import (
        AutoModelForTextRecognition,
        PPOCRV5ServerRecImageProcessor,
        PPOCRV6SmallRecImageProcessor,
    )

    options = {**_RECOGNISERS[model_type], "head_out_channels": len(LETTERS) + 1, "hidden_size": 16}
    model = _untrained(AutoModelForTextRecognition, model_type, options, seed)
    linear = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Linear)]
    _awaken(model, linear[-1], (48, 320), spread=8)
    is_fifth = model_type.startswith("pp_ocrv5")
    kind = PPOCRV5ServerRecImageProcessor if is_fifth else PPOCRV6SmallRecImageProcessor
    return _saved(folder, model, kind(character_list=["blank", *LETTERS]))


def _untrained(auto_class: Any, model_type: str, options: dict[str, Any], seed: int) -> Any:
    """Build a model of a config with random weights under which signals neither fade nor grow."""
    import torch
    from transformers import AutoConfig

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = auto_class.from_config(AutoConfig.for_model(model_type, **options))
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                torch.nn.init.kaiming_normal_(layer.weight)
            if isinstance(layer, torch.nn.ConvTranspose2d):  # else it draws a grid on everything
                layer.weight.copy_(layer.weight.mean(dim=(2, 3), keepdim=True))
            if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                layer.momentum = None
        model.train()(_noise((48, 320) if "_rec" in model_type else (96, 128)))
    return model.eval()


def _awaken(model: Any, layer: Any, size_hw: tuple[int, int], spread: float) -> None:
    """Scale what a layer says about noise to a spread around nought, channel by channel."""
    import torch

    outputs: list[Any] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    with torch.no_grad():
        model(_noise(size_hw))
        handle.remove()
        channels = outputs[0].movedim(1, -1) if outputs[0].ndim == 4 else outputs[0]
        channels = channels.flatten(0, -2)
        scale = spread / channels.std(dim=0)
        layer.weight *= scale[:, None] if layer.weight.ndim == 2 else scale
        layer.bias.copy_((layer.bias - channels.mean(dim=0)) * scale)


def _noise(size_hw: tuple[int, int]) -> Any:
    """Four images with blots of several sizes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(4, 3, side, 2 * side, generator=generator) for side in (3, 8, 20)]
    grown = [torch.nn.functional.interpolate(one, size_hw, mode="bicubic") for one in layers]
    return torch.stack(grown).sum(dim=0) * 2 - 3


def _saved(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _lcnet_v3(*strides: Any) -> dict[str, Any]:
    blocks = [[3, 16, 16, 1, False], *([3, 16, 16, stride, False] for stride in strides)]
    return {
        "model_type": "pp_lcnet_v3",
        "block_configs": [[block] for block in blocks],
        "conv_symmetric_num": 1,
        "out_features": ["stage2", "stage3", "stage4", "stage5"],
    }


def _lcnet_v4(*strides: Any, **options: Any) -> dict[str, Any]:
    return {
        "model_type": "pp_lcnet_v4",
        "stem_channels": [3, 8, 16],
        "block_configs": [[[3, 16, 16, stride, False]] for stride in strides],
        **options,
    }


_DETECTORS: dict[str, dict[str, Any]] = {
    "pp_ocrv5_mobile_det": {
        "backbone_config": _lcnet_v3(2, 2, 2, 2),
        "neck_out_channels": 16,
        "layer_list_out_channels": [4, 4, 8, 8],
    },
    "pp_ocrv5_server_det": {
        "backbone_config": {**_HGNET, "out_features": _STAGES},
        "neck_out_channels": 16,
        "intraclass_block_config": _INTRACLASS,
        "scale_factor_list": [1, 2, 4, 8],
        "kernel_list": [3, 2, 2],
    },
    "pp_ocrv6_small_det": {
        "backbone_config": _lcnet_v4(1, 2, 2, 2, out_features=_STAGES),
        "neck_out_channels": 16,
        "layer_list_out_channels": [16, 16, 16, 16],
    },
    "pp_ocrv6_medium_det": {
        "backbone_config": _lcnet_v4(1, 2, 2, 2, out_features=_STAGES),
        "neck_out_channels": 16,
        "intraclass_block_config": _INTRACLASS,
        "scale_factor_list": [1, 2, 4, 8],
        "kernel_list": [3, 2, 2],
    },
}
_RECOGNISERS: dict[str, dict[str, Any]] = {
    "pp_ocrv5_mobile_rec": {"backbone_config": _lcnet_v3(1, [2, 1], 2, [2, 1])},
    "pp_ocrv5_server_rec": {
        "backbone_config": {
            **_HGNET,
            **_ALONG,
            "out_features": _STAGES,
            "stage_downsample": [True, True, True, True],
            "stage_downsample_strides": [[2, 1], [1, 2], [2, 1], [2, 1]],
        }
    },
    "pp_ocrv6_small_rec": {"backbone_config": _lcnet_v4(1, 1, [2, 1], [2, 1])},
    "pp_ocrv6_tiny_rec": {"backbone_config": _lcnet_v4(1, 1, [2, 1], [2, 1])},
}
DETECTORS, RECOGNISERS = tuple(_DETECTORS), tuple(_RECOGNISERS)
