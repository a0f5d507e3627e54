"""From a chat model's answer to the text of a caption, or an error."""

from __future__ import annotations

import re
from collections.abc import Sequence

from florilegium.engine.core.errors import SampleError
from florilegium.specialists.online.context import one_line
from florilegium.specialists.online.failure import INVALID_ANSWER
from florilegium.specialists.words.evidence import sentences
from florilegium.specialists.words.instructions import is_instruction
from florilegium.specialists.words.refusals import opens_with_refusal

_REASONING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
"""The reasoning before an answer, if the server does not remove it."""


def without_reasoning(answer: str) -> str:
    """Return an answer without the reasoning before it."""
    return _REASONING.sub("", answer, count=1).strip()


def text_in(answer: str) -> str | SampleError:
    """Return an answer as one line, without reasoning and enclosing quotation marks.

    A refusal, an answer without letters, or one of instructions only is an error:
    `invalid_answer`.
    """
    line = one_line(without_reasoning(answer))
    if line.startswith('"') and line.endswith('"') and line.count('"') == 2:
        line = line[1:-1].strip()
    if not any(letter.isalpha() for letter in line) or line.startswith("<think>"):
        return SampleError(INVALID_ANSWER, f"the answer is no text: {answer[:200]!r}")
    if opens_with_refusal(line):
        return SampleError(INVALID_ANSWER, f"the answer is a refusal: {line[:200]!r}")
    if all(map(is_instruction, sentences(line))):
        return SampleError(INVALID_ANSWER, f"the answer is an instruction: {line[:200]!r}")
    return line


def texts_in(answers: Sequence[str | SampleError]) -> list[str] | SampleError:
    """Return the texts of the answers for one sample, or the first error among them."""
    texts: list[str] = []
    for answer in answers:
        text = answer if isinstance(answer, SampleError) else text_in(answer)
        if isinstance(text, SampleError):
            return text
        texts.append(text)
    return texts
