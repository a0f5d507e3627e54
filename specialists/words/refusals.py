"""Detecting refusals of language models: in the first person, at the start of a sentence.

The same words elsewhere are no refusal: "A man dressed as an AI robot", "a sign that reads I can't
breathe"; nor is "I can't believe how small it is".
"""

from __future__ import annotations

import re

_VERBS = (
    "access|analy[sz]e|answer|assist|caption|comment|complete|comply|confirm|create|describe|"
    "determine|discuss|display|engage|fulfill?|generate|give|guess|identify|infer|interpret|merge|"
    "name|offer|perceive|process|produce|provide|recogni[sz]e|respond|share|speculate|support|"
    "verify|write"
)
_SEEN = (
    "images?|pictures?|photos?|photographs?|files?|attachments?|visuals?|details|anything|it|who"
)
_TASK = rf"""(?:
    (?:{_VERBS})\b
  | (?:see|view|read|open)\b(?:[.!]*$|[^.!?\n]*\b(?:{_SEEN})\b)
  | help\b(?!\ (?:but|\w+ing)\b)
  | tell\b(?!\ you\b)
  | make\ out\b
  | do\ (?:that|this|so|it)\b(?!\ without)
)"""
"""Verbs of tasks that a model may refuse."""
_HOW = r"(?:(?:actually|also|currently|directly|really|reliably|simply|be\ able\ to)\ )*"
_MODEL = (
    r"(?:ai|a\.i\.|artificial\ intelligence|(?:large\ )?language\ model|text-based|"
    r"virtual\ assistant)"
)
_NOTHING = r"(?:able|access|against|cannot|no|not|too|unable|unclear|violates?|\w+n't)"
_NO_IMAGE = r"""no\ (?:image|picture|photo|photograph|attachment|file)\ (?:(?:was|is|has\ been)\ )?
    (?:provided|attached|given|included|uploaded|shared|received|found)\b"""
_I_REFUSE = rf"""i(?:
    \ {_HOW}(?:can(?:not|'t|\ not)|could(?:n't|\ not)|won't|will\ not)\ {_HOW}{_TASK}
  | (?:'m|\ am)\ {_HOW}(?:unable|not\ (?:able|allowed|permitted))\ to\ {_HOW}{_TASK}
  | (?:'m|\ am)\ not\ comfortable\b
  | (?:'m|\ am)\ (?:just\ |only\ )?an?\ {_MODEL}\b
  | \ {_HOW}do(?:n't|\ not)\ (?:
        have\ (?:the\ (?:ability|capability|means|image)|access|enough|any|an\ image|eyes)
      | feel\ comfortable
      | see\ (?:an?|any|the)\ (?:image|picture|photo|attachment|file))\b
  | \ have\ no\ (?:ability|access|eyes|means|way)\b
  | \ (?:must|have\ to|need\ to)\ (?:\w+\ )?decline\b
)"""
_REFUSALS = rf"""
    {_I_REFUSE}
  | (?:(?:i'm|i\ am)\ (?:\w+\ )?)?sorry (?:[.!]*$ | [,;:.!]*\ (?:but\ )?(?:
        {_I_REFUSE} | i\ (?:can(?:not|'t|\ not)|won't|will\ not)\b | as\ an?\ {_MODEL}\b
      | {_NO_IMAGE} | (?:the|there|this|that|it|my|no)\b[^.!?\n]*?\b{_NOTHING}\b))
  | (?:i\ apologi[sz]e|(?:my\ )?apologies)(?:[.!]*$
      | ,?\ for\ (?:the|any)\ (?:confusion|inconvenience)
      | [,;:.!]*\ (?:but\ )?(?:i|there|as|the|this|that|it|my|no|your)\b[^.!?\n]*?\b{_NOTHING}\b
      | [,;:.!]*\ (?:but\ )?{_NO_IMAGE})
  | as\ an?\ (?:{_MODEL}\b[^.!?\n]*?(?:,\ (?:i|it\ is)\b | \ {_I_REFUSE})
      | (?:ai\ |large\ )*language\ model\b)
  | (?:there\ (?:is|was)\ )?{_NO_IMAGE}
  | (?:please|could\ you|can\ you)\ (?:please\ )?(?:provide|upload|share|attach|send)\b
  | my\ (?:guidelines|policies|policy|programming|training)\b
  | unable\ to\ (?:{_TASK}|load\b)
  | it\ is(?:n't|\ not)\ (?:possible|appropriate)\ for\ me\b
"""
_OPENING = r"""
    (?:(?:caption|answer|assistant|response|description|output)\s*:\s*)?
    (?:(?:unfortunately|however|regrettably|but|and|so|therefore|thus|hello|hi|oh|well|note\ that|
        please\ note\ that|(?:i'm\ afraid|i\ am\ afraid|i\ regret)(?:\ that)?)[,!.]*\ +)*
"""
_REFUSAL = re.compile(rf"{_OPENING}(?:{_REFUSALS})", re.IGNORECASE | re.VERBOSE)
_SENTENCE_END = re.compile(r"[.!?…]+\s+|\s*\n\s*")
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u02bc\u2018", "'"))


def opens_with_refusal(text: str) -> bool:
    """Return whether a text starts with a refusal."""
    return _REFUSAL.match(_plain(text)) is not None


def count_refusals(text: str) -> int:
    """Count the sentences of a text that start with a refusal."""
    text = _plain(text)
    starts = (0, *(end.end() for end in _SENTENCE_END.finditer(text)))
    return sum(_REFUSAL.match(text, start) is not None for start in starts)


def _plain(text: str) -> str:
    """Return a text without enclosing quotation marks, and with plain apostrophes."""
    return text.translate(_APOSTROPHES).strip().strip('"“”').lstrip()
