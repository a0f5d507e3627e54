"""Networks of the sizes that are used: config, processor and tokenizer, weights only where needed.

A module of `tests.checkpoints` has the tiny one of a stage; `REAL` has these. Answers do not end
by themselves: what is no word is never chosen, and that is also what ends an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu import vocabularies


def _written(
    folder: Path, config: Any, processor: Any, generation: dict[str, Any] | None = None
) -> dict[str, Any]:
    from transformers import GenerationConfig

    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    if generation:
        GenerationConfig(**generation).save_pretrained(folder)
    return {"model": str(folder), "weights": "random"}


def _quiet(folder: Path, config: Any, processor: Any, *loud: str, scale: float) -> dict[str, Any]:
    """Write a detector with weights, random ones too, of which some are scaled.

    Otherwise half of its boxes would have a score of 1.
    """
    import torch
    from transformers import AutoModelForZeroShotObjectDetection

    torch.manual_seed(0)
    model = AutoModelForZeroShotObjectDetection.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(loud):
                weight *= scale
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return {"model": str(folder)}


def _marks(tokenizer: Any) -> list[int]:
    return sorted(tokenizer.added_tokens_decoder)


def florence2_base(folder: Path) -> dict[str, Any]:
    """Write a Florence-2-base, 232 million parameters, which sees 768 pixels."""
    from transformers import Florence2Config

    from florilegium.pipelines.shape_world.pretrain.vocabulary import (
        make_processor,
        train_tokenizer,
    )

    words = (word for word, _ in zip(vocabularies.invented(), range(20_000), strict=False))
    tokenizer = train_tokenizer(words, entries=50_265)
    text = {
        "model_type": "bart",
        "vocab_size": 51_289,
        "d_model": 768,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 6),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 3072),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 12),
    }
    config = Florence2Config(
        text_config=text,
        vision_config={"projection_dim": 768},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    generation = {
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
        "no_repeat_ngram_size": 3,
        "suppress_tokens": _marks(tokenizer),
    }
    processor = make_processor(tokenizer, px=768, image_tokens=577)
    return _written(folder, config, processor, generation)


def rt_detr(folder: Path) -> dict[str, Any]:
    """Write an RT-DETR v2 on a ResNet-50, 43 million parameters, which sees 640 pixels."""
    from transformers import RTDetrImageProcessorPil, RTDetrV2Config

    names = {number: f"class {number}" for number in range(80)}
    config = RTDetrV2Config(id2label=names, label2id={name: one for one, name in names.items()})
    return _written(folder, config, RTDetrImageProcessorPil())


def owlv2_base(folder: Path) -> dict[str, Any]:
    """Write an OWLv2 base with patches of 16, 154 million parameters, which sees 960 pixels."""
    from transformers import Owlv2Config, Owlv2ImageProcessorPil, Owlv2Processor

    side = 960
    image_processor = Owlv2ImageProcessorPil(size={"height": side, "width": side})
    tokenizer = vocabularies.clip(49_408, longest=16)
    config = Owlv2Config(vision_config={"image_size": side})
    processor = Owlv2Processor(image_processor, tokenizer)
    heads = ("class_head.logit_shift", "class_head.logit_scale")
    return _quiet(folder, config, processor, *heads, scale=0.01)


def grounding_dino_tiny(folder: Path) -> dict[str, Any]:
    """Write a Grounding DINO on Swin-T and BERT-base, 172 million parameters."""
    from transformers import (
        GroundingDinoConfig,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )

    processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil(), vocabularies.bert(30_522))
    return _quiet(
        folder, GroundingDinoConfig(), processor, "model.decoder.layer_norm.weight", scale=0.1
    )


def sam_base(folder: Path) -> dict[str, Any]:
    """Write a SAM on ViT-B, 94 million parameters, which sees 1024 pixels."""
    from transformers import SamConfig, SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    return _written(folder, SamConfig(), SamProcessor(SamImageProcessorPil()))


def clip_base(folder: Path) -> dict[str, Any]:
    """Write a CLIP of ViT-B/32, 151 million parameters, which sees 224 pixels."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPProcessor

    tokenizer = vocabularies.clip(49_408, longest=77)
    text = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    processor = CLIPProcessor(CLIPImageProcessorPil(), tokenizer)
    return _written(folder, CLIPConfig(text_config=text), processor)


def blip_base(folder: Path) -> dict[str, Any]:
    """Write a BLIP base, 224 million parameters, which sees 384 pixels."""
    from transformers import BlipConfig, BlipImageProcessorPil, BlipProcessor

    config = BlipConfig(text_config={"num_attention_heads": 12}, vision_config={"image_size": 384})
    processor = BlipProcessor(BlipImageProcessorPil(), vocabularies.bert(30_524))
    return _written(folder, config, processor)


def trocr_base(folder: Path) -> dict[str, Any]:
    """Write a TrOCR base, 334 million parameters, which sees 384 pixels."""
    from transformers import TrOCRConfig, TrOCRProcessor, VisionEncoderDecoderConfig, ViTConfig
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    side, entries = 384, 50_265
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=side),
        TrOCRConfig(vocab_size=entries, cross_attention_hidden_size=768),
    )
    image_processor = ViTImageProcessorPil(size={"height": side, "width": side})
    processor = TrOCRProcessor(image_processor, vocabularies.roberta(entries))
    generation = {
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
        "suppress_tokens": [*range(5)],
    }
    return _written(folder, config, processor, generation)


def smolvlm_500m(folder: Path) -> dict[str, Any]:
    """Write a SmolVLM-500M, as an Idefics 3 whose images need no torchvision."""
    from transformers import Idefics3Config, Idefics3ImageProcessorPil, Idefics3Processor

    side, entries = 512, 49_280
    tokenizer = vocabularies.chat(entries)
    text = {
        "model_type": "llama",
        "vocab_size": entries,
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "max_position_embeddings": 8192,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {"hidden_size": 768, "num_attention_heads": 12, "image_size": side, "patch_size": 16}
    config = Idefics3Config(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        tie_word_embeddings=True,
    )
    image_processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 4 * side}, max_image_size={"longest_edge": side}
    )
    processor = Idefics3Processor(
        image_processor, tokenizer, image_seq_len=64, chat_template=tokenizer.chat_template
    )
    generation = {
        **{name: text[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
        "suppress_tokens": _marks(tokenizer),
    }
    return _written(folder, config, processor, generation)


REAL: dict[str, Callable[[Path], dict[str, Any]]] = {
    "florence2": florence2_base,
    "detector": rt_detr,
    "open_vocabulary": owlv2_base,
    "grounding": grounding_dino_tiny,
    "segment_anything": sam_base,
    "image_tags": clip_base,
    "region_text": blip_base,
    "chat_caption": smolvlm_500m,
    "trocr": trocr_base,
    "region_label": clip_base,
    "image_text": clip_base,
}
"""What writes the checkpoint of a stage."""
