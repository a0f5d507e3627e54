"""Personal data in a text: e-mail addresses, telephone numbers, payment cards and bank accounts.

Numbers are checked by their checksums: cards by Luhn (ISO/IEC 7812-1), accounts by the remainder of
97 (ISO 13616). Names and postal addresses are not found; a telephone number has no checksum, so
only numbers that are written as such count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from types import MappingProxyType

EMAIL, PHONE, CARD, IBAN = "email", "phone", "card", "iban"

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}\s?@\s?(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
_CARD = re.compile(r"(?<![\d.,+-])(?:\d[ -]?){12,18}\d(?![\d.,]?\d)")
_IBAN = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Z0-9])"
)
_PHONE = re.compile(
    r"(?<![\w.,/+-])(?<!\d )(?:"
    r"(?:\+|00)[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,5}\)[ .-]?)?\d(?:[ ./-]?\d){5,12}"  # international
    r"|\(0?\d{2,5}\)[ .-]?\d(?:[ .-]?\d){4,9}"  # with the area in brackets
    r"|[2-9]\d{2}[-.]\d{3}[-.]\d{4}"  # North America
    r"|0\d{2,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}"  # national, from a leading zero
    r")(?![\w/]|[.,]\d)"
)
_CALLED = re.compile(
    r"(?i)\b(?:tel|fon|phone|telefon|telephone|mobile|mobil|cell|call|fax|whatsapp)\b[\s.:]{0,3}"
    r"(?P<number>\+?\d(?:[ ./()-]{0,2}\d){5,14})(?!\d)"
)
_SEPARATORS = re.compile(r"[ -]")
_LENGTHS_OF_IBAN = range(15, 35)
_CARD_STARTS = re.compile(r"3[0-9]|4|5[0-9]|6[0-9]|2[2-7]")
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}")


def personal_kinds(text: str, kinds: tuple[str, ...] = (EMAIL, PHONE, CARD, IBAN)) -> list[str]:
    """Return which of these kinds of personal data a text has, in their order."""
    plain = unicodedata.normalize("NFKC", text)
    return [kind for kind in kinds if next(_FINDERS[kind](plain), None) is not None]


def is_luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of a card's number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def is_iban(account: str) -> bool:
    """Return whether an account number without spaces has the right checksum."""
    if len(account) not in _LENGTHS_OF_IBAN:
        return False
    return int("".join(str(int(one, 36)) for one in account[4:] + account[:4])) % 97 == 1


def _emails(text: str) -> Iterator[str]:
    return (match.group() for match in _EMAIL.finditer(text))


def _cards(text: str) -> Iterator[str]:
    for match in _CARD.finditer(text):
        digits = _SEPARATORS.sub("", match.group())
        if _CARD_STARTS.match(digits) and is_luhn(digits):
            yield digits


def _ibans(text: str) -> Iterator[str]:
    for match in _IBAN.finditer(text):
        words = match.group().split(" ")
        # What follows may be a word of its own: the longest start with the right checksum counts.
        for count in range(len(words), 0, -1):
            if is_iban(account := "".join(words[:count])):
                yield account
                break


def _phones(text: str) -> Iterator[str]:
    text = _CARD.sub("_", _IBAN.sub("_", text))  # groups of digits of an account, right or wrong
    for match in _PHONE.finditer(text):
        if 7 <= sum(map(str.isdigit, match.group())) <= 15 and not _DATE.fullmatch(match.group()):
            yield match.group()
    for match in _CALLED.finditer(text):
        if not _DATE.fullmatch(match["number"]):
            yield match["number"]


_FINDERS: MappingProxyType[str, Callable[[str], Iterator[str]]] = MappingProxyType(
    {EMAIL: _emails, PHONE: _phones, CARD: _cards, IBAN: _ibans}
)
KINDS = tuple(_FINDERS)
"""The kinds that are found."""
