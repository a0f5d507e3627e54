"""Tiny object detectors of every family that the specialist reads, untrained but outspoken.

Made from the real config classes; their heads are scaled so that boxes differ and pass a score.
What `transformers` itself makes of them is here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModelForObjectDetection, ObjectDetectionPipeline, PreTrainedConfig

from florilegium.engine.core.sample import Sample

NAMES = ("person", "rocket", "cup", "cat")
SIDE = 64
"""Pixels of the side of the image that a detector with a fixed size sees."""
_SQUARE = {"height": SIDE, "width": SIDE}
_KEPT_ASPECT = {"shortest_edge": 48, "longest_edge": 96}


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs.

    One image at a time, so that answers are equal to the last digit: sums of a batch are not.
    """
    return {"model": str(WRITERS["rt_detr"](folder)), "batch_size": 1}


def _writer(
    make: Callable[[], PreTrainedConfig], processor: str, size: dict[str, int], **more: Any
) -> Callable[..., Path]:
    def write(folder: Path, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        config = make()
        config.id2label = dict(enumerate(NAMES))
        config.label2id = {name: number for number, name in enumerate(NAMES)}
        model = AutoModelForObjectDetection.from_config(config)
        _speak_up(model)
        model.save_pretrained(folder)
        getattr(transformers, processor)(size=size, **more).save_pretrained(folder)
        return folder

    return write


def _speak_up(model: torch.nn.Module) -> None:
    """Scale what names and places boxes, so that one query says something else than the next."""
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and any(word in name for word in ("class", "score", "label")):
            torch.nn.init.normal_(weight, std=0.4)
        elif weight.ndim == 2 and "bbox" in name:
            torch.nn.init.normal_(weight, std=0.3)
        elif "query" in name or "detection_tokens" in name:
            torch.nn.init.normal_(weight, std=3.0)


def _detr(name: str, **more: Any) -> Callable[[], PreTrainedConfig]:
    """A config of DETR and its kin, on a ResNet of `transformers`."""
    return lambda: getattr(transformers, name)(
        backbone_config=transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=more.pop("out_features", ["stage4"]),
        ),
        **(
            dict.fromkeys(("encoder_layers", "decoder_layers"), 2)
            | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_model"), 32)
            | dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
            | {"num_queries": 12}
            | more
        ),
    )


def _rt_detr(
    name: str, backbone: Callable[[], PreTrainedConfig], **more: Any
) -> Callable[[], PreTrainedConfig]:
    """A config of RT-DETR and its kin."""
    return lambda: getattr(transformers, name)(
        backbone_config=backbone(),
        encoder_in_channels=[8, 16, 16],
        decoder_in_channels=[32, 32, 32],
        encoder_hidden_dim=32,
        d_model=32,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=20,
        num_denoising=0,
        initializer_bias_prior_prob=0.3,
        **more,
    )


def _rt_resnet() -> PreTrainedConfig:
    return transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_indices=[2, 3, 4],
    )


def _hgnet() -> PreTrainedConfig:
    return transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 8, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        out_indices=[2, 3, 4],
    )


def _lw_detr() -> PreTrainedConfig:
    return transformers.LwDetrConfig(
        backbone_config=transformers.LwDetrViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            image_size=SIDE,
            pretrain_image_size=SIDE,
            patch_size=8,
            num_windows=4,
            window_block_indices=[0],
            out_indices=[1, 2],
        ),
        projector_scale_factors=[1.0],
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=12,
        group_detr=1,
    )


def _rf_detr() -> PreTrainedConfig:
    return transformers.RfDetrConfig(
        backbone_config=transformers.RfDetrDinov2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            image_size=SIDE,
            patch_size=8,
            num_windows=2,
            out_features=["stage1", "stage2"],
        ),
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=12,
        group_detr=1,
    )


def _yolos() -> PreTrainedConfig:
    return transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[SIDE, SIDE],
        num_detection_tokens=12,
    )


_THREE = {"out_features": ["stage2", "stage3", "stage4"], "num_feature_levels": 3}
WRITERS: dict[str, Callable[..., Path]] = {
    "detr": _writer(_detr("DetrConfig"), "DetrImageProcessorPil", _KEPT_ASPECT),
    "conditional_detr": _writer(
        _detr("ConditionalDetrConfig"), "ConditionalDetrImageProcessorPil", _KEPT_ASPECT
    ),
    "deformable_detr": _writer(
        _detr("DeformableDetrConfig", disable_custom_kernels=True, **_THREE),
        "DeformableDetrImageProcessorPil",
        _KEPT_ASPECT,
    ),
    "rt_detr": _writer(_rt_detr("RTDetrConfig", _rt_resnet), "RTDetrImageProcessorPil", _SQUARE),
    "rt_detr_v2": _writer(
        _rt_detr("RTDetrV2Config", _rt_resnet), "RTDetrImageProcessorPil", _SQUARE
    ),
    "d_fine": _writer(_rt_detr("DFineConfig", _hgnet), "RTDetrImageProcessorPil", _SQUARE),
    "deimv2": _writer(_rt_detr("Deimv2Config", _hgnet), "RTDetrImageProcessorPil", _SQUARE),
    "lw_detr": _writer(_lw_detr, "DeformableDetrImageProcessorPil", _SQUARE),
    "yolos": _writer(_yolos, "YolosImageProcessorPil", _KEPT_ASPECT),
    "rf_detr": _writer(_rf_detr, "RfDetrImageProcessor", _SQUARE),
}
"""What writes a checkpoint of each model type; `rf_detr` needs torchvision."""


def pipeline_answers(
    folder: Path, samples: Sequence[Sample], least_score: float
) -> Iterator[list[tuple[str, float, list[float]]]]:
    """Yield what the pipeline of `transformers` says: label, score and box of each object.

    Its boxes are clipped to the image here, and not cut to whole pixels.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectDetectionPipeline, "_get_bounding_box", lambda _, box: box.tolist())
        ask = transformers.pipeline("object-detection", model=str(folder), device="cpu")
        for sample in samples:
            limit = np.tile((sample.width, sample.height), 2)
            answers = ask(Image.fromarray(sample.image), threshold=least_score)
            boxes = [np.clip(one["box"], 0, limit) for one in answers]
            yield [
                (one["label"], one["score"], box.tolist())
                for one, box in zip(answers, boxes, strict=True)
                if (box[2:] > box[:2]).all()
            ]
