"""The text of interleaved samples as Flamingo reads it (arXiv 2204.14198, section 2.4, appendix A):
`<image>` where an image stands, `<|endofchunk|>` after the text that belongs to it.

A text of an annotation never brings one of these marks: there, they are written apart.
"""

from __future__ import annotations

import re

IMAGE, END = "<image>", "<|endofchunk|>"
_MARKS = re.compile(r"<(?=image>|\|endofchunk\|>)")


def plain(text: str) -> str:
    """Return a text in which no mark stands: `<image>` becomes `< image>`."""
    return _MARKS.sub("< ", text)


def images_in(text: str) -> int:
    """Return how many images a text has places for."""
    return text.count(IMAGE)


def chunks_of(text: str) -> list[str]:
    """Return the chunks of a text, without the mark of their end: an image and its text each."""
    return text.removesuffix(END).split(END)
