"""From examples to tensors: the results of the model's own processor, computed faster.

Tokens of prompts are cached; the normalised values of the 256 brightnesses are looked up in a
table. Targets get `<s>` and `</s>`; padding is -100 in labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from florilegium.engine.core.image.reading import decode
from florilegium.pipelines.training.examples import Example

IGNORED = -100
"""The label that the loss ignores."""
_CACHED_PROMPTS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """An example with its token ids; its image is not decoded yet."""

    example: Example
    prompt_ids: np.ndarray
    target_ids: np.ndarray

    @property
    def length(self) -> int:
        """Tokens of prompt and target."""
        return len(self.prompt_ids) + len(self.target_ids)


class Collator:
    """Makes the inputs of a training step from examples.

    `start_id` is the first token of the decoder's input, `max_tokens` the maximum length of a
    target, `positions` that of the input, image tokens included.
    """

    def __init__(self, processor: Any, *, start_id: int, max_tokens: int, positions: int) -> None:
        self._tokenizer = processor.tokenizer
        self._image_ids = np.full(processor.num_image_tokens, processor.image_token_id)
        self._pixels = PixelReader(processor.image_processor)
        self._start_id = start_id
        self._positions = positions
        self.max_tokens = min(max_tokens, positions)
        """Maximum tokens of a target that the model can take."""
        self._prompt_ids = lru_cache(_CACHED_PROMPTS)(self._prompt_ids_of)

    def encode(self, example: Example) -> Encoded | None:
        """Return the tokens of an example, or `None` if they are too many for the model."""
        prompt_ids = self._prompt_ids(example.prompt)
        target_ids = self._wrapped(example.target)
        if len(prompt_ids) > self._positions or len(target_ids) > self.max_tokens:
            return None
        return Encoded(example=example, prompt_ids=prompt_ids, target_ids=target_ids)

    def __call__(self, batch: Sequence[Encoded]) -> dict[str, Any]:
        """Return tensors: pixel_values (n, 3, height, width) float32, input_ids, attention_mask
        and labels (n, longest) int64, decoder_input_ids; and `tasks`, a list of names.
        """
        import torch

        pad_id = self._tokenizer.pad_token_id
        prompts = _padded([one.prompt_ids for one in batch], pad_id)
        labels = _padded([one.target_ids for one in batch], IGNORED)
        shifted = np.concatenate([np.full((len(batch), 1), self._start_id), labels[:, :-1]], axis=1)
        shifted[shifted == IGNORED] = pad_id
        lengths = np.array([len(one.prompt_ids) for one in batch])
        attention = np.arange(prompts.shape[1]) < lengths[:, None]
        arrays = {
            "pixel_values": np.stack([self._pixels_of(one.example) for one in batch]),
            "input_ids": prompts,
            "attention_mask": attention.astype(np.int64),
            "decoder_input_ids": shifted,
            "labels": labels,
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**tensors, "tasks": [one.example.task for one in batch]}

    def _pixels_of(self, example: Example) -> np.ndarray:
        pixels = self._pixels(example.image)
        return pixels[:, :, ::-1] if example.is_mirrored else pixels

    def _prompt_ids_of(self, prompt: str) -> np.ndarray:
        return np.concatenate([self._image_ids, self._wrapped(prompt)])

    def _wrapped(self, text: str) -> np.ndarray:
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        return np.array([self._tokenizer.bos_token_id, *ids, self._tokenizer.eos_token_id])


class PixelReader:
    """Converts image bytes to normalised pixels, float32 (3, height, width), as a processor does.

    The processor's value of each brightness is computed once and looked up. A processor that does
    more than resize, rescale and normalise is called for each image.
    """

    def __init__(self, image_processor: Any) -> None:
        self._processor = image_processor
        size = image_processor.size
        self._size_hw = (size.get("height"), size.get("width"))
        does_more = image_processor.do_center_crop or getattr(image_processor, "do_pad", False)
        is_plain = all(self._size_hw) and image_processor.do_resize and not does_more
        self._table = self._brightnesses() if is_plain else None

    def __call__(self, image: bytes) -> np.ndarray:
        """Decode, resize and normalise an image."""
        pixels = decode(image)
        if self._table is None:
            return self._processor(pixels, return_tensors="np")["pixel_values"][0]
        if pixels.shape[:2] != self._size_hw:
            pixels = self._resized(pixels)
        return np.stack([self._table[band][pixels[:, :, band]] for band in range(3)])

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        height, width = self._size_hw
        resample = Image.Resampling(int(self._processor.resample))
        return np.asarray(Image.fromarray(pixels).resize((width, height), resample))

    def _brightnesses(self) -> np.ndarray:
        """Return the normalised value of each brightness in each band, (3, 256)."""
        ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
        answer = self._processor(ramp, do_resize=False, return_tensors="np")["pixel_values"][0]
        return answer.reshape(3, 256).astype(np.float32)


def _padded(rows: Sequence[np.ndarray], fill: int) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded
