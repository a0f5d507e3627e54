"""Questions about images, answered in words by any image-text-to-text model of `transformers`.

A model with a chat template is asked as in a chat, another gets the plain prompt. Images are
prepared once for all questions. Knows no annotations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np

from engine.core.errors import ConfigError, SampleError
from engine.core.stage import RUNTIME
from specialists.captions.answer_text import cleaned, own_turn, whole_sentences
from specialists.pretrained.chat_template import rendered_chat
from specialists.pretrained.checkpoint import Family
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.greedy_search import GreedySearch, Spoken
from specialists.pretrained.network import TOO_THIN, Network
from specialists.pretrained.token_scores import rounded, sentence_score

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

T = TypeVar("T")

EMPTY_ANSWER = "empty_answer"
UNFINISHED_ANSWER = "unfinished_answer"

_WITH_VIDEOS = (
    *("llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm"),
)
"""Their processors prepare videos too, and those only with torchvision."""
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
_REHEARSED_PX = 64
"""Side of the blank image that is asked about before the first real one."""
_REHEARSED_TOKENS = 4
"""More than one: the second step is another than the first."""
_PREPARED = 4
"""Batches of images that are prepared, and in memory, at once."""


class ImageChatConfig(PretrainedConfig):
    """Which model is asked."""

    model: Annotated[str, RUNTIME] = FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id: BLIP, BLIP-2, or a chat model such as
    SmolVLM, Qwen-VL, LLaVA or Gemma 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A prompt, and how many tokens its answer may have."""

    prompt: str
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer in words; `score` is the geometric mean of its tokens' probabilities, 0..1."""

    text: str
    score: float


class ImageChat:
    """A loaded model that answers the same questions about any image.

    Raises:
        ConfigError: the model cannot answer a question, seen on a blank image.
    """

    def __init__(
        self, network: Network, config: ImageChatConfig, questions: Sequence[Question]
    ) -> None:
        self._network = network
        self._processor = network.processor
        self._config = config
        self._questions = tuple(questions)
        self._search = GreedySearch(network.model, self._processor.tokenizer)
        try:
            self._prompts = [self._prompt(question.prompt) for question in questions]
            self._rehearse()
        except Exception as error:  # templates, processors and torch raise whatever they meet
            raise ConfigError(
                f"model {config.model!r} cannot be asked about a blank image: {error}; change the "
                "prompt, or leave `image_size` out"
            ) from error

    def answer(
        self, things: Sequence[T], view: Callable[[T], np.ndarray]
    ) -> list[list[Reply | SampleError]]:
        """Answer all questions about each thing, of which `view` gives RGB pixels, uint8.

        In the place of an answer stands the error where there is none: of a thing that cannot
        be seen, `empty_answer`, or `unfinished_answer` where not one sentence came to an end
        within `max_new_tokens`.
        """
        size = _PREPARED * self._config.batch_size
        return [
            replies
            for start in range(0, len(things), size)
            for replies in self._answer(things[start : start + size], view)
        ]

    def _answer(
        self, things: Sequence[T], view: Callable[[T], np.ndarray]
    ) -> list[list[Reply | SampleError]]:
        def prepare(thing: T) -> list[dict[str, Tensor]] | SampleError:
            try:
                return self._inputs(view(thing))
            except SampleError as error:
                return error

        prepared = self._network.prepare(things, prepare)
        seen = [inputs for inputs in prepared if not isinstance(inputs, SampleError)]
        replies = [
            iter(self._replies([inputs[number] for inputs in seen], question))
            for number, question in enumerate(self._questions)
        ]
        return [
            [inputs if isinstance(inputs, SampleError) else next(column) for column in replies]
            for inputs in prepared
        ]

    def _replies(
        self, inputs: Sequence[Mapping[str, Tensor]], question: Question
    ) -> list[Reply | SampleError]:
        def speak(batch: dict[str, Tensor], _: object) -> list[Spoken]:
            # What a processor makes of one image has a first dimension of one image or of its
            # patches or tiles: either way, those of several images follow each other.
            together = {name: tensor.flatten(0, 1) for name, tensor in batch.items()}
            return self._search.speak(together, question.max_new_tokens)

        return [self._reply(spoken, question) for spoken in self._network.run(inputs, speak)]

    def _reply(self, spoken: Spoken, question: Question) -> Reply | SampleError:
        whole = self._text(spoken.ids)
        text = own_turn(whole)
        if text == whole and not spoken.is_finished:
            text = whole_sentences(whole)
        if words := cleaned(text):
            count = len(spoken.ids) if text == whole else self._count(spoken.ids, len(text))
            return Reply(text=words, score=rounded(sentence_score(spoken.chances[:count])))
        if cleaned(whole):
            return SampleError(
                UNFINISHED_ANSWER,
                f"no sentence ends within {question.max_new_tokens} tokens: "
                f"{cleaned(whole)[:80]!r}; raise `max_new_tokens`, or ask for less",
            )
        return SampleError(EMPTY_ANSWER, f"the model says nothing to {question.prompt!r}")

    def _text(self, ids: np.ndarray) -> str:
        text: str = self._processor.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text

    def _count(self, ids: np.ndarray, characters: int) -> int:
        """Return how many tokens it takes to say so many characters."""
        counts = range(1, len(ids))
        return 1 + bisect_left(counts, characters, key=lambda n: len(self._text(ids[:n])))

    def _prompt(self, prompt: str) -> str:
        """Return a prompt as the processor takes it, with a place for the image."""
        if not is_chat(self._processor):
            return prompt
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        return rendered_chat(self._processor, [{"role": "user", "content": content}])

    def _inputs(self, pixels: np.ndarray) -> list[dict[str, Tensor]]:
        """Return the model's inputs for each question.

        Raises:
            SampleError: `too_thin`, when the processor cannot take an image of this shape.
        """
        from PIL import Image

        # As an image and not an array: of a strip of three pixels nobody knows the channels.
        image = Image.fromarray(pixels)
        processor = copy(self._processor)
        processor.image_processor = _Remembering(self._processor.image_processor)
        try:
            return [_features(processor, image, prompt) for prompt in self._prompts]
        except ValueError as error:
            raise SampleError(
                TOO_THIN,
                f"{image.width}x{image.height} pixels cannot be prepared for this model: {error}",
            ) from error

    def _rehearse(self) -> None:
        """Ask about a blank image: prompts, pixels and weights must fit each other.

        A fast tokenizer changes itself when it is first asked; afterwards threads can share it.
        """
        blank = self._inputs(np.zeros((_REHEARSED_PX, _REHEARSED_PX, 3), np.uint8))
        for question, inputs in zip(self._questions, blank, strict=True):
            tokens = min(question.max_new_tokens, _REHEARSED_TOKENS)
            self._replies([inputs], replace(question, max_new_tokens=tokens))


class _Remembering:
    """An image processor for one image, which it prepares once for all prompts about it."""

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
    """Tell whether a model is asked as in a chat."""
    return getattr(processor, "chat_template", None) is not None


def _features(processor: Any, image: Image, prompt: str) -> dict[str, Tensor]:
    import torch

    begin = processor.tokenizer.bos_token
    is_begun = is_chat(processor) and begin is not None and prompt.startswith(begin)
    features = processor(
        images=[image],
        text=[prompt],
        return_tensors="pt",
        **({"add_special_tokens": False} if is_begun else {}),
    )
    return {name: one for name, one in features.items() if isinstance(one, torch.Tensor)}
