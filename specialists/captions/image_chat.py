"""Prompting any image-text-to-text model of `transformers` about images.

A model with a chat template gets a chat message, another the plain prompt. Each image is
preprocessed once for all prompts. Knows no annotations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.stage import CONTENT
from florilegium.specialists.captions.answer_text import cleaned, own_turn, whole_sentences
from florilegium.specialists.pretrained.chat_template import rendered_chat
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.greedy_search import GeneratedTokens, GreedySearch
from florilegium.specialists.pretrained.network import TOO_THIN, Network
from florilegium.specialists.pretrained.token_scores import rounded, sentence_score
from florilegium.specialists.pretrained.views import Given, View

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

EMPTY_ANSWER = "empty_answer"
UNFINISHED_ANSWER = "unfinished_answer"

_WITH_VIDEOS = (
    *("llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm"),
)
"""Model types whose processors need torchvision, for videos."""
FAMILY = Family(
    title="an image-text-to-text model",
    example="HuggingFaceTB/SmolVLM-Instruct",
    model_class="AutoModelForImageTextToText",
    model_types=(
        *("blip", "blip-2", "gemma3", "idefics3", "llava", "llava_next"),
        *_WITH_VIDEOS,
    ),
    needs_torchvision=_WITH_VIDEOS,
)
_TRIAL_PX = 64
"""Side of the blank image that the prompts are tried on when the model is loaded."""
_TRIAL_TOKENS = 4
"""Tokens of the trial answer; more than one, as the first step of generation is special."""
_BATCHES_IN_MEMORY = 4
"""Batches of preprocessed images in memory at once."""


class ImageChatConfig(PretrainedConfig):
    """Options of stages that prompt a model about images."""

    model: Annotated[str, CONTENT] = FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id: BLIP, BLIP-2, or a chat model such as
    SmolVLM, Qwen-VL, LLaVA or Gemma 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPrompt:
    """A prompt, and the maximum tokens of its answer."""

    prompt: str
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatReply:
    """An answer; `score` is the geometric mean of the probabilities of its tokens, 0..1."""

    text: str
    score: float


class ImageChat:
    """A loaded model with a fixed list of prompts.

    Raises:
        ConfigError: the model cannot answer a prompt about a blank image.
    """

    def __init__(
        self, network: Network, config: ImageChatConfig, prompts: Sequence[ChatPrompt]
    ) -> None:
        self._network = network
        self._processor = network.processor
        self._config = config
        self._chat_prompts = tuple(prompts)
        self._search = GreedySearch(network.model, self._processor.tokenizer)
        try:
            rendered = tuple(self._rendered(one.prompt) for one in prompts)
            self._inputs = _Inputs(self._processor, rendered)
            self._try()
        except Exception as error:  # templates, processors and torch raise any exception
            raise ConfigError(
                f"model {config.model!r} cannot answer about a blank image: {error}; change the "
                "prompt, or leave `image_size` out"
            ) from error

    def answer(self, views: Sequence[View]) -> list[list[ChatReply | SampleError]]:
        """Answer all prompts about each image or part of one.

        An answer may be an error: that of its pixels, `too_thin`, `empty_answer`, or
        `unfinished_answer` if no sentence ends within `max_new_tokens`.
        """
        size = _BATCHES_IN_MEMORY * self._config.batch_size
        return [
            replies
            for start in range(0, len(views), size)
            for replies in self._answer(views[start : start + size])
        ]

    def _answer(self, views: Sequence[View]) -> list[list[ChatReply | SampleError]]:
        prepared = self._network.prepare(views, self._inputs)
        usable = [inputs for inputs in prepared if not isinstance(inputs, SampleError)]
        replies = [
            iter(self._replies([inputs[number] for inputs in usable], prompt))
            for number, prompt in enumerate(self._chat_prompts)
        ]
        return [
            [inputs if isinstance(inputs, SampleError) else next(column) for column in replies]
            for inputs in prepared
        ]

    def _replies(
        self, inputs: Sequence[Mapping[str, Tensor]], prompt: ChatPrompt
    ) -> list[ChatReply | SampleError]:
        def generate(batch: dict[str, Tensor], _: object) -> list[GeneratedTokens]:
            # The first dimension is 1, or the patches or tiles of an image: either way, those of
            # several images are concatenated.
            together = {name: tensor.flatten(0, 1) for name, tensor in batch.items()}
            return self._search.generate(together, prompt.max_new_tokens)

        generated: list[GeneratedTokens] = self._network.run(inputs, generate)
        return [self._reply(tokens, prompt) for tokens in generated]

    def _reply(self, tokens: GeneratedTokens, prompt: ChatPrompt) -> ChatReply | SampleError:
        whole = self._text(tokens.ids)
        text = own_turn(whole)
        if text == whole and not tokens.is_finished:
            text = whole_sentences(whole)
        if words := cleaned(text):
            count = len(tokens.ids) if text == whole else self._count(tokens.ids, len(text))
            return ChatReply(
                text=words, score=rounded(sentence_score(tokens.probabilities[:count]))
            )
        if cleaned(whole):
            return SampleError(
                UNFINISHED_ANSWER,
                f"no sentence ends within {prompt.max_new_tokens} tokens: "
                f"{cleaned(whole)[:80]!r}; raise `max_new_tokens`, or prompt for less",
            )
        return SampleError(EMPTY_ANSWER, f"the answer to {prompt.prompt!r} is empty")

    def _text(self, ids: np.ndarray) -> str:
        text: str = self._processor.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text

    def _count(self, ids: np.ndarray, characters: int) -> int:
        """Return the number of tokens that decode to a number of characters."""
        counts = range(1, len(ids))
        return 1 + bisect_left(counts, characters, key=lambda n: len(self._text(ids[:n])))

    def _rendered(self, prompt: str) -> str:
        """Return a prompt as the processor takes it, with its image placeholder."""
        if not is_chat(self._processor):
            return prompt
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        return rendered_chat(self._processor, [{"role": "user", "content": content}])

    def _try(self) -> None:
        """Answer about a blank image, to check that prompts, pixels and weights fit together.

        A fast tokenizer changes its state on first use; afterwards threads can share it.
        """
        blank = self._inputs.of(Given(np.zeros((_TRIAL_PX, _TRIAL_PX, 3), np.uint8)))
        for prompt, inputs in zip(self._chat_prompts, blank, strict=True):
            tokens = min(prompt.max_new_tokens, _TRIAL_TOKENS)
            self._replies([inputs], replace(prompt, max_new_tokens=tokens))


@dataclass(frozen=True)
class _Inputs:
    """Makes the model's inputs for each prompt about a view, or the error of the view."""

    processor: Any
    prompts: tuple[str, ...]

    def __call__(self, view: View) -> list[dict[str, Tensor]] | SampleError:
        try:
            return self.of(view)
        except SampleError as error:
            return error

    def of(self, view: View) -> list[dict[str, Tensor]]:
        """Return the model's inputs for each prompt.

        Raises:
            SampleError: `too_thin`: the processor cannot take an image of this shape.
        """
        from PIL import Image

        # A PIL image and no array: in an array with a side of three, the channel axis is ambiguous.
        image = Image.fromarray(view.pixels())
        processor = copy(self.processor)
        processor.image_processor = _CachedImageProcessor(self.processor.image_processor)
        try:
            return [_features(processor, image, prompt) for prompt in self.prompts]
        except ValueError as error:
            raise SampleError(
                TOO_THIN,
                f"{image.width}x{image.height} pixels do not suit this model: {error}",
            ) from error


class _CachedImageProcessor:
    """An image processor for one image, which it preprocesses once for all prompts."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        self._features: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._features is None:
            self._features = self._image_processor(*args, **kwargs)
        return copy(self._features)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)


def is_chat(processor: Any) -> bool:
    """Return whether a model has a chat template."""
    return getattr(processor, "chat_template", None) is not None


def _features(processor: Any, image: Image, prompt: str) -> dict[str, Tensor]:
    import torch

    begin = processor.tokenizer.bos_token
    has_begin = is_chat(processor) and begin is not None and prompt.startswith(begin)
    features = processor(
        images=[image],
        text=[prompt],
        return_tensors="pt",
        **({"add_special_tokens": False} if has_begin else {}),
    )
    return {name: one for name, one in features.items() if isinstance(one, torch.Tensor)}
