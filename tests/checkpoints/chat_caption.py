"""Tiny image-text-to-text models of every family, untrained, with real processors and tokenizers.

They babble in English words: their vocabulary has many tokens that end a sentence or the answer,
so that answers differ in length and from image to image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from florilegium.engine.core.sample import Sample

SIDE = 32
"""Pixels of the side of the image, or of the tile, that a model with a fixed size sees."""
_WORDS = (
    *("a", "the", "two", "red", "green", "small", "old", "wooden", "with", "and", "on", "under"),
    *("near", "cat", "dog", "table", "house", "tree", "car", "man", "woman", "street", "window"),
    *("is", "are", "sits", "stands", "holds", "of", "in", "sky", "water", "boat", "hat", "chair"),
    *("cat.", "dog.", "table.", "house.", "tree.", "car.", "street.", "water.", "boat.", "chair."),
)
_ENDS = tuple(f"<end_{number}>" for number in range(4))
_SILENT = (
    *("<pad>", "<s>", "</s>", "<unk>", "<image>", "<video>", "<|im_start|>", "<|im_end|>"),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
)
"""Tokens that a prompt may have and no answer has."""
_VOCABULARY = {
    token: number for number, token in enumerate((*_SILENT, *_ENDS, *(f"Ġ{one}" for one in _WORDS)))
}
_CHAT = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs."""
    return {"model": str(WRITERS["idefics3"](folder)), "max_new_tokens": {"caption": 12}}


def _writer(
    make: Callable[[], dict[str, Any]], processor: Callable[[], Any]
) -> Callable[..., Path]:
    def write(folder: Path, seed: int = 1) -> Path:
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**make()))
        _speak_up(model)
        model.save_pretrained(folder)
        processor().save_pretrained(folder)
        return folder

    return write


def _speak_up(model: Any) -> None:
    """Scale the weights, so that an answer depends on the image, and hush what is no word."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            # The place in the answer counts for more than the last word, or that is repeated.
            is_word = "embed_tokens" in name or "word_embeddings" in name or "shared" in name
            std = 0.03 if is_word else 1.0 if "position" in name else 0.5
            torch.nn.init.normal_(weight, std=std)
    head = model.get_output_embeddings() or model.text_decoder.get_output_embeddings()
    with torch.no_grad():
        if head.bias is None:
            head.weight[: len(_SILENT)] = 0  # never the most probable
        else:
            head.bias[: len(_SILENT)] = -1e4
    settings = {
        "bos_token_id": _VOCABULARY["<s>"],
        "eos_token_id": [_VOCABULARY[end] for end in _ENDS],
        "pad_token_id": _VOCABULARY["<pad>"],
        "min_new_tokens": 3,
        "no_repeat_ngram_size": 2,
    }
    model.generation_config.update(**settings)


def _tokenizer(frame: str = "$A", **named: str) -> Any:
    """A tokenizer of some words and all bytes, which splits and joins as GPT-2's and Qwen's do.

    `frame` is what it puts around a text, `named` the special tokens that a processor looks for.
    """
    tokenizer = Tokenizer(
        models.BPE(vocab=_VOCABULARY, merges=[], ignore_merges=True, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(one, _VOCABULARY[one]) for one in ("<s>", "</s>")]
    )
    special = [one for one in (*_SILENT, *_ENDS) if len(one) > 1]
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )


def _text(model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "vocab_size": len(_VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "bos_token_id": _VOCABULARY["<s>"],
        "eos_token_id": [_VOCABULARY[end] for end in _ENDS],
        "pad_token_id": _VOCABULARY["<pad>"],
        "tie_word_embeddings": False,
    } | more


def _vision(model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
    } | more


def _square(side: int = SIDE) -> dict[str, int]:
    return {"height": side, "width": side}


def _blip() -> dict[str, Any]:
    text = _text("blip_text_model", encoder_hidden_size=16, sep_token_id=_VOCABULARY[_ENDS[0]])
    return {
        "model_type": "blip",
        "vision_config": _vision("blip_vision_model"),
        "text_config": text | {"tie_word_embeddings": True},
        "projection_dim": 16,
    }


def _blip_processor() -> Any:
    return transformers.BlipProcessor(
        transformers.BlipImageProcessorPil(size=_square()), _tokenizer("<s> $A </s>")
    )


def _blip2(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "blip-2",
        "vision_config": _vision("blip_2_vision_model"),
        "qformer_config": {
            "model_type": "blip_2_qformer",
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        "text_config": text,
        "num_query_tokens": 4,
        "image_token_index": _VOCABULARY["<image>"],
    }


def _opt() -> dict[str, Any]:
    return _text("opt", ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=512)


def _t5() -> dict[str, Any]:
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    return _text("t5", **sizes, decoder_start_token_id=_VOCABULARY["<pad>"])


def _blip2_processor() -> Any:
    return transformers.Blip2Processor(
        transformers.BlipImageProcessorPil(size=_square()), _tokenizer("<s> $A"), num_query_tokens=4
    )


def _llava() -> dict[str, Any]:
    return {
        "model_type": "llava",
        "vision_config": _vision("clip_vision_model"),
        "text_config": _text("llama"),
        "image_token_index": _VOCABULARY["<image>"],
    }


def _llava_processor(name: str = "Llava", **sizes: Any) -> Any:
    return getattr(transformers, f"{name}Processor")(
        getattr(transformers, f"{name}ImageProcessorPil")(**sizes),
        _tokenizer("<s> $A", image_token="<image>"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT.replace("IMAGE", "<image>\n"),
    )


def _llava_next() -> dict[str, Any]:
    return _llava() | {"model_type": "llava_next", "image_grid_pinpoints": _TILINGS}


def _gemma3() -> dict[str, Any]:
    return {
        "model_type": "gemma3",
        "vision_config": _vision("siglip_vision_model"),
        "text_config": _text("gemma3_text", head_dim=16),
        "mm_tokens_per_image": 4,
        "boi_token_index": _VOCABULARY["<|vision_start|>"],
        "eoi_token_index": _VOCABULARY["<|vision_end|>"],
        "image_token_index": _VOCABULARY["<image>"],
    }


def _gemma3_processor() -> Any:
    return transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessorPil(size=_square()),
        _tokenizer(
            "<s> $A",
            image_token="<image>",
            boi_token="<|vision_start|>",
            eoi_token="<|vision_end|>",
        ),
        image_seq_length=4,
        chat_template="{{ bos_token }}" + _CHAT.replace("IMAGE", "<|vision_start|>"),
    )


def _idefics3(model_type: str = "idefics3") -> dict[str, Any]:
    return {
        "model_type": model_type,
        "vision_config": _vision(f"{model_type}_vision"),
        "text_config": _text("llama"),
        "image_token_id": _VOCABULARY["<image>"],
        "scale_factor": 2,
    }


def _idefics3_processor() -> Any:
    return transformers.Idefics3Processor(
        transformers.Idefics3ImageProcessorPil(**_TILES),
        _tokenizer("<s> $A", image_token="<image>"),
        image_seq_len=4,
        chat_template="{{ bos_token }}" + _CHAT.replace("IMAGE", "<image>"),
    )


def _smolvlm_processor() -> Any:
    return transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessorPil(**_TILES),
        _tokenizer("<s> $A", image_token="<image>"),
        transformers.SmolVLMVideoProcessor(**_TILES),
        image_seq_len=4,
        chat_template="<|im_start|>" + _CHAT.replace("IMAGE", "<image>"),
    )


def _qwen(model_type: str, **vision: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    return {
        "model_type": model_type,
        "vision_config": {
            "model_type": f"{model_type}_vision",
            "depth": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "patch_size": 8,
        }
        | vision,
        "text_config": _text(f"{model_type}_text", rope_parameters=rope),
        "image_token_id": _VOCABULARY["<|image_pad|>"],
        "video_token_id": _VOCABULARY["<|video_pad|>"],
        "vision_start_token_id": _VOCABULARY["<|vision_start|>"],
        "vision_end_token_id": _VOCABULARY["<|vision_end|>"],
    }


def _qwen_processor(name: str) -> Any:
    pixels = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    video = "Qwen3VLVideoProcessor" if name == "Qwen3VL" else "Qwen2VLVideoProcessor"
    return getattr(transformers, f"{name}Processor")(
        transformers.Qwen2VLImageProcessorPil(patch_size=8, size=pixels),
        _tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>"),
        getattr(transformers, video)(patch_size=8),
        chat_template=_CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )


def _llava_onevision() -> dict[str, Any]:
    return {
        "model_type": "llava_onevision",
        "vision_config": _vision("siglip_vision_model", vision_use_head=False),
        "text_config": _text("qwen2"),
        "image_token_index": _VOCABULARY["<image>"],
        "video_token_index": _VOCABULARY["<video>"],
        "image_grid_pinpoints": _TILINGS,
    }


def _llava_onevision_processor() -> Any:
    return transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessorPil(size=_square(), image_grid_pinpoints=_TILINGS),
        _tokenizer("<s> $A", image_token="<image>", video_token="<video>"),
        transformers.LlavaOnevisionVideoProcessor(size=_square()),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_CHAT.replace("IMAGE", "<image>\n"),
    )


_TILES = {"size": {"longest_edge": 3 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
_TILINGS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
_ONE_TILE = {"size": {"shortest_edge": SIDE}, "crop_size": _square()}
WRITERS: dict[str, Callable[..., Path]] = {
    "blip": _writer(_blip, _blip_processor),
    "blip-2": _writer(lambda: _blip2(_opt()), _blip2_processor),
    "blip-2 of t5": _writer(lambda: _blip2(_t5()), _blip2_processor),
    "llava": _writer(_llava, lambda: _llava_processor(**_ONE_TILE)),
    "llava_next": _writer(
        _llava_next,
        lambda: _llava_processor("LlavaNext", image_grid_pinpoints=_TILINGS, **_ONE_TILE),
    ),
    "gemma3": _writer(_gemma3, _gemma3_processor),
    "idefics3": _writer(_idefics3, _idefics3_processor),
    "smolvlm": _writer(lambda: _idefics3("smolvlm"), _smolvlm_processor),
    "qwen2_vl": _writer(
        lambda: _qwen("qwen2_vl", embed_dim=32), lambda: _qwen_processor("Qwen2VL")
    ),
    "qwen2_5_vl": _writer(
        lambda: _qwen(
            "qwen2_5_vl",
            out_hidden_size=32,
            intermediate_size=48,
            window_size=32,
            fullatt_block_indexes=[1],
        ),
        lambda: _qwen_processor("Qwen2_5_VL"),
    ),
    "qwen3_vl": _writer(
        lambda: _qwen(
            "qwen3_vl",
            out_hidden_size=32,
            intermediate_size=48,
            num_position_embeddings=64,
            deepstack_visual_indexes=[0],
        ),
        lambda: _qwen_processor("Qwen3VL"),
    ),
    "qwen3_vl_moe": _writer(
        lambda: _qwen(
            "qwen3_vl_moe",
            out_hidden_size=32,
            intermediate_size=48,
            num_position_embeddings=64,
            deepstack_visual_indexes=[0],
        ),
        lambda: _qwen_processor("Qwen3VL"),
    ),
    "llava_onevision": _writer(_llava_onevision, _llava_onevision_processor),
}
"""What writes a checkpoint of each model type, and of BLIP-2 with a decoder alone and with T5."""


def pipeline_answers(
    folder: Path, samples: Sequence[Sample], prompt: str, max_new_tokens: int
) -> Iterator[tuple[str, bool]]:
    """Yield what the pipeline of `transformers` says of each image, and whether it had ended."""
    pipe = transformers.pipeline("image-text-to-text", model=str(folder))
    ends = {_VOCABULARY[end] for end in _ENDS}
    how = {"generate_kwargs": {"max_new_tokens": max_new_tokens, "do_sample": False}}
    for sample in samples:
        image = Image.fromarray(sample.image)
        if pipe.processor.chat_template is None:
            asked: dict[str, Any] = {"images": image, "text": prompt}
        else:
            content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
            asked = {"text": [{"role": "user", "content": content}]}
        (answer,) = pipe(**asked, **how, return_full_text=False)
        (tokens,) = pipe(**asked, **how, return_tensors=True)
        yield answer["generated_text"], tokens["generated_token_ids"][-1].item() in ends
