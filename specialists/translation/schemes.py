"""How translation models are told the languages: a token for each, before the text or first in the
answer.

The family of a model is known by its type and its vocabulary, never by its name. This module knows
no text and no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.languages import Language, language_of

_FORCED = {"m2m_100": ("{}", "__{}__"), "nllb-moe": ("{}",)}
"""Forms of a language's token by model type, where the answer begins with that of its language:
NLLB has `deu_Latn`, M2M-100 `__de__`."""
_PREFIXED = {"t5": "<2{}>", "mt5": "<2{}>", "umt5": "<2{}>", "marian": ">>{}<<"}
"""The same where that of the answer's language stands before the text: MADLAD-400, OPUS-MT."""
MODEL_TYPES = (*_FORCED, *_PREFIXED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Direction:
    """From one language to another, as a model is told.

    `source_token` is that of the source language, before the tokens of the text; `prefix` stands
    before the text itself; `first_token` begins the answer. `None` and "" are for neither.
    """

    source_token: int | None = None
    prefix: str = ""
    first_token: int | None = None


class Scheme:
    """How one checkpoint is told the languages.

    `codes` are the model's own codes of languages by BCP 47 tag, such as `deu_Latn`; they stand
    above those that are derived from the tag.
    """

    def __init__(
        self, model: str, model_type: str, tokenizer: Any, codes: Mapping[str, str]
    ) -> None:
        self._model = model
        self._type = model_type
        self._tokenizer = tokenizer
        self._codes = codes

    def direction(self, source: str, target: str) -> Direction:
        """Return how to ask for a translation between two BCP 47 tags.

        Raises:
            ConfigError: the model does not have one of them.
        """
        if self._type in _FORCED:
            form = self._form()
            before, first = (
                int(self._tokenizer.convert_tokens_to_ids(self._token(tag, form)))
                for tag in (source, target)
            )
            return Direction(source_token=before, first_token=first)
        if self._type == "marian" and not self._tokenizer.supported_language_codes:
            self._check_pair(source, target)
            return Direction()
        return Direction(prefix=f"{self._token(target, _PREFIXED[self._type])} ")

    def _form(self) -> str:
        """Return the form of the tokens of a model whose type has several: that of English, which
        all have, decides."""
        forms = _FORCED[self._type]
        return next((form for form in forms if self._known("en", form)), forms[0])

    def _token(self, tag: str, form: str) -> str:
        """Return the model's token of a language."""
        found = self._known(tag, form)
        if found is None:
            tried = ", ".join(form.format(code) for code in self._candidates(tag))
            raise ConfigError(
                f"model {self._model!r} has no token for the language {tag!r} (tried {tried}): "
                f"choose another model or language, or name the model's own code in `codes`"
            )
        return found

    def _known(self, tag: str, form: str) -> str | None:
        unknown = self._tokenizer.unk_token_id
        for code in self._candidates(tag):
            token = form.format(code)
            number = self._tokenizer.convert_tokens_to_ids(token)
            if number is not None and number != unknown:
                return token
        return None

    def _candidates(self, tag: str) -> list[str]:
        if tag in self._codes:
            return [self._codes[tag]]
        return list(dict.fromkeys(_codes_of(language_of(tag), tag)))

    def _check_pair(self, source: str, target: str) -> None:
        """Refuse languages that a model of a single pair does not have, as far as it names them."""
        for tag, own in (
            (source, self._tokenizer.source_lang),
            (target, self._tokenizer.target_lang),
        ):
            if own and len(own) <= 3 and own not in self._candidates(tag):
                raise ConfigError(
                    f"model {self._model!r} translates from {self._tokenizer.source_lang!r} to "
                    f"{self._tokenizer.target_lang!r}, not from {source!r} to {target!r}: choose "
                    f"another model, or give its code {own!r} to {tag!r} in `codes`"
                )


def _codes_of(language: Language, tag: str) -> Iterator[str]:
    """Yield the codes under which models may know a language, the most exact first.

    A tag that names a script other than the usual one has no code without it.
    """
    yield f"{language.iso}_{language.script}"
    yield tag
    yield tag.replace("-", "_")
    if language.script == language_of(language.code).script:
        yield language.code
        yield language.iso
