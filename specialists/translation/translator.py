"""Translating texts by an encoder-decoder of `transformers`, sentence by sentence.

Models of translation were trained on sentences, and leave some of a paragraph out. Knows no
annotation.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.stage import CONTENT
from florilegium.specialists.pretrained.beam_search import BeamSearch
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.greedy_search import GeneratedTokens, GreedySearch
from florilegium.specialists.pretrained.network import Network
from florilegium.specialists.pretrained.token_scores import rounded, sentence_score
from florilegium.specialists.translation.schemes import MODEL_TYPES, Direction, Scheme
from florilegium.specialists.words.languages import language_of
from florilegium.specialists.words.writing import UNSPACED_SCRIPTS, sentences_of_any_script

if TYPE_CHECKING:
    from torch import Tensor

TEXT_TOO_LONG = "sentence_too_long"
EMPTY_TRANSLATION = "empty_translation"
UNFINISHED_TRANSLATION = "unfinished_translation"
FAMILY = Family(
    title="a translation model",
    example="google/madlad400-3b-mt",
    model_class="AutoModelForSeq2SeqLM",
    model_types=MODEL_TYPES,
    processor_class="AutoTokenizer",
    # Positions that follow from a formula; released checkpoints lack them.
    unused=("model.encoder.embed_positions.", "model.decoder.embed_positions."),
)


class TranslationConfig(PretrainedConfig):
    """Options of stages that translate."""

    model: Annotated[str, CONTENT] = FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id: MADLAD-400, NLLB, M2M-100, or OPUS-MT
    (Marian)."""
    codes: dict[str, str] = Field(default_factory=dict)
    """The model's own codes of languages by BCP 47 tag, where they cannot be derived from the tag:
    {pt-BR: pob}."""
    by_sentence: bool = True
    """Whether each sentence is translated by itself; models of translation know sentences, and
    leave out some of a paragraph."""
    beams: int = Field(default=1, ge=1, le=32)
    """Beginnings of a translation that are kept at once; 1 is greedy, which is the fastest."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Maximum tokens of a translated sentence; limited by the positions of the checkpoint. A
    translation that does not end within it is discarded."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The directions of translation, (source, target)."""
        raise NotImplementedError(f"{type(self).__name__} names no directions")

    @model_validator(mode="after")
    def _has_no_image(self) -> TranslationConfig:
        if self.image_size is not None:
            raise ValueError("a translation looks at no image: leave `image_size` out")
        return self


class Text(NamedTuple):
    """A text to translate, and its languages, BCP 47."""

    text: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """A translated text; `score` is the geometric mean of the probabilities of its tokens, 0..1."""

    text: str
    score: float


class Translator:
    """A loaded model, and the directions in which it is to translate.

    Raises:
        ConfigError: the model does not have one of the languages.
    """

    def __init__(
        self,
        network: Network,
        config: TranslationConfig,
        directions: Sequence[tuple[str, str]],
    ) -> None:
        self._network = network
        self._tokenizer = network.processor
        self._config = config
        # What sacremoses would change must not depend on whether it is installed.
        self._tokenizer.punc_normalizer = str
        scheme = Scheme(config.model, network.checkpoint.model_type, self._tokenizer, config.codes)
        self._directions: Mapping[tuple[str, str], Direction] = {
            pair: scheme.direction(*pair) for pair in directions
        }
        self._search = (
            BeamSearch(network.model, self._tokenizer, config.beams)
            if config.beams > 1
            else GreedySearch(network.model, self._tokenizer)
        )
        # It would end a translation at the limit, which then looked finished.
        network.model.generation_config.forced_eos_token_id = None
        positions = getattr(network.model.config, "max_position_embeddings", None)
        self._max_source = positions or self._tokenizer.model_max_length
        self._max_new = min(config.max_new_tokens, (positions or config.max_new_tokens + 1) - 1)
        self._tokenizing = threading.Lock()

    def translate(self, texts: Sequence[Text]) -> list[Translation | SampleError]:
        """Translate texts.

        An answer may be an error: `sentence_too_long` for the model, `empty_translation`, or
        `unfinished_translation` if a sentence does not end within `max_new_tokens`.
        """
        parts = [self._sentences(one) for one in texts]
        distinct = list(dict.fromkeys(part for own in parts for part in own))
        known: dict[Text, GeneratedTokens | SampleError] = {}
        for pair in dict.fromkeys((one.source, one.target) for one in distinct):
            of_pair = [one for one in distinct if (one.source, one.target) == pair]
            known.update(zip(of_pair, self._generated(of_pair, *pair), strict=True))
        return [self._joined(own, [known[part] for part in own]) for own in parts]

    def _sentences(self, text: Text) -> list[Text]:
        parts = sentences_of_any_script(text.text) if self._config.by_sentence else [text.text]
        return [text._replace(text=part) for part in parts]

    def _generated(
        self, texts: Sequence[Text], source: str, target: str
    ) -> list[GeneratedTokens | SampleError]:
        direction = self._directions[source, target]
        inputs = [self._tokens(one.text, direction) for one in texts]
        usable = [one for one in inputs if not isinstance(one, SampleError)]

        def generate(batch: dict[str, Tensor], _: object) -> list[GeneratedTokens]:
            return self._search.generate(batch, self._max_new, first_token=direction.first_token)

        generated: list[GeneratedTokens] = self._network.run(usable, generate)
        answers = iter(generated)
        has_code = direction.first_token is not None
        return [
            one if isinstance(one, SampleError) else _without_code(next(answers), has_code)
            for one in inputs
        ]

    def _tokens(self, text: str, direction: Direction) -> dict[str, Tensor] | SampleError:
        import torch

        with self._tokenizing:
            if direction.source_token is None:
                ids = self._tokenizer(f"{direction.prefix}{text}").input_ids
            else:  # not by the tokenizer's setting of a source language, which others could change
                own = self._tokenizer(text, add_special_tokens=False).input_ids
                ids = [direction.source_token, *own, self._tokenizer.eos_token_id]
        if len(ids) > self._max_source:
            return SampleError(
                TEXT_TOO_LONG,
                f"a sentence has {len(ids)} tokens, more than the {self._max_source} of the model",
            )
        numbers = torch.tensor(ids)
        return {"input_ids": numbers, "attention_mask": torch.ones_like(numbers)}

    def _joined(
        self, sentences: Sequence[Text], generated: Sequence[GeneratedTokens | SampleError]
    ) -> Translation | SampleError:
        """Return the translation of a text from those of its sentences."""
        texts: list[str] = []
        probabilities: list[np.ndarray] = []
        for sentence, tokens in zip(sentences, generated, strict=True):
            if isinstance(tokens, SampleError):
                return tokens
            text = self._decoded(tokens.ids)
            if not tokens.is_finished:
                return SampleError(
                    UNFINISHED_TRANSLATION,
                    f"{sentence.text[:80]!r} is not translated within {self._max_new} tokens: "
                    f"{text[:80]!r}",
                )
            texts.append(text)
            probabilities.append(tokens.probabilities)
        if not all(texts) or not texts:
            return SampleError(EMPTY_TRANSLATION, "the translation of a sentence is empty")
        between = "" if _is_unspaced(sentences[0].target) else " "
        score = rounded(sentence_score(np.concatenate(probabilities)))
        return Translation(text=between.join(texts), score=score)

    def _decoded(self, ids: np.ndarray) -> str:
        with self._tokenizing:
            text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return " ".join(text.split())


def _without_code(tokens: GeneratedTokens, has_code: bool) -> GeneratedTokens:
    """Return an answer without the forced token of its language."""
    if not has_code:
        return tokens
    return GeneratedTokens(
        ids=tokens.ids[1:],
        probabilities=tokens.probabilities[1:],
        is_finished=tokens.is_finished,
    )


def _is_unspaced(tag: str) -> bool:
    try:
        return language_of(tag).script in UNSPACED_SCRIPTS
    except ConfigError:  # a language of `codes` alone
        return False


def load_translation(checkpoint: Checkpoint, **options: Any) -> tuple[Any, Any]:
    """Load (model, tokenizer) as `load_pretrained` does.

    Marian's tokenizer recommends sacremoses, which is not used here.
    """
    from florilegium.specialists.pretrained.loading import load_pretrained

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
        return load_pretrained(checkpoint, **options)
