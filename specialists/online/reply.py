"""What a chat model answered, as the text of a caption, or the reason why it is none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.errors import SampleError
from specialists.online.failure import INVALID_ANSWER
from specialists.online.heard import one_line

_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
"""What reasoning models say before they answer, where the server leaves it in."""
_UNABLE = "see|view|help|assist|describe|provide|process|access|analy[sz]e|identify|comply|fulfil"
_REFUSALS = (
    r"(i'm|i am)( very| so)? sorry",
    r"sorry[,.]",
    r"my apologies",
    r"i apologi[sz]e",
    rf"i (can ?not|can't|could not|couldn't) ({_UNABLE}|do|merge|write|generate|create)",
    r"(i'm|i am) (unable|not able)",
    r"i (don't|do not) (see|have) (an?|any|the)\b",
    r"as an? (ai|large language model|language model)\b",
    r"no image (was|is|has been)\b",
    r"(please|could you) (provide|upload|share)\b",
)
_REFUSAL = re.compile(
    rf"((unfortunately|(i'm|i am) afraid)[, ]+)?({'|'.join(_REFUSALS)})", re.IGNORECASE
)
"""How models say, at the start of an answer, that they will not answer."""


def text_in(answer: str) -> str | SampleError:
    """Return an answer as one line, without thoughts and without quotation marks around it.

    A refusal, or an answer without a word, is an error: `invalid_answer`.
    """
    line = one_line(_THOUGHT.sub("", answer, count=1))
    if line.startswith('"') and line.endswith('"') and line.count('"') == 2:
        line = line[1:-1].strip()
    if not any(letter.isalpha() for letter in line) or line.startswith("<think>"):
        return SampleError(INVALID_ANSWER, f"the answer is no text: {answer[:200]!r}")
    if _REFUSAL.match(line.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        return SampleError(INVALID_ANSWER, f"the answer is a refusal: {line[:200]!r}")
    return line


def texts_in(answers: Sequence[str | SampleError]) -> list[str] | SampleError:
    """Return the texts of several answers about one sample, or the first error among them."""
    texts: list[str] = []
    for answer in answers:
        text = answer if isinstance(answer, SampleError) else text_in(answer)
        if isinstance(text, SampleError):
            return text
        texts.append(text)
    return texts
