"""Decodes bytes as text: captions, JSON and sheets.

By a byte order mark, else as strict UTF-8, else in the encoding that the source's config names.
Other bytes are no text: characters are never replaced, and no encoding is guessed, as the result of
a wrong guess could pass as a caption.
"""

from __future__ import annotations

import codecs
import io

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXAMPLES = "such as cp1252, gbk, shift_jis or utf-16-le"


class NotText(ValueError):
    """Bytes or characters that are no text; the message has the reason and the cure."""


def check_text(text: str) -> str:
    """Return a text after checking its characters.

    Raises:
        NotText: it has NUL or escape characters, as text in another encoding has (UTF-16,
            ISO 2022), or a lone surrogate, which is half of a character.
    """
    if "\0" in text or "\x1b" in text:
        kind = "NUL" if "\0" in text else "escape"
        raise NotText(f"{kind} characters, as text in another encoding has; set `encoding`")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotText("half of a character (a lone surrogate)")
    return text


def decoded(data: bytes, encoding: str = "") -> str:
    """Return bytes as text; without a byte order mark, `encoding` is tried after UTF-8.

    Raises:
        NotText: they are in neither.
    """
    mark = _mark_of(data)
    for name in filter(None, (mark,) if mark else ("utf-8", encoding)):
        try:
            return check_text(data.decode(name).removeprefix("\ufeff"))
        except ValueError:  # of UnicodeDecodeError too: the next one
            continue
    if mark:
        raise NotText(f"a byte order mark of {mark.removesuffix('-sig')}, but not the rest of it")
    if b"\0" in data:
        raise NotText(f"NUL characters: it is no UTF-8{_cure(encoding)}")
    raise NotText(f"it is no UTF-8{_cure(encoding)}")


def is_utf8(data: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
    return _line(data, "utf-8") is not None


def decoded_lines(data: bytes, encoding: str = "") -> list[str | None]:
    """Return the lines of a text with their ends; `None` for a line that is no text.

    A few damaged lines in UTF-8 are left out alone. Where most lines with non-ASCII letters are no
    UTF-8, the whole text is in another encoding, though a short line may fit by chance.

    Raises:
        NotText: it cannot be divided into lines: UTF-16 that is damaged, or is not expected.
    """
    try:
        return list(_lines(decoded(data)))
    except NotText:
        mark = _mark_of(data)
        if b"\0" in data or mark not in ("", "utf-8-sig"):
            return list(_lines(decoded(data, encoding)))
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)
    foreign = [line for line in lines if not line.isascii()]
    is_damaged_utf8 = bool(mark) or 2 * sum(map(is_utf8, foreign)) > len(foreign)
    encodings = [name for name in ("ascii", "utf-8" if is_damaged_utf8 else "", encoding) if name]
    return [_line(line, *encodings) for line in lines]


def _line(line: bytes, *encodings: str) -> str | None:
    for name in encodings:
        try:
            return check_text(line.decode(name))
        except ValueError:
            continue
    return None


def _lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")  # ends of every system, each kept as it is


def _mark_of(data: bytes) -> str:
    return next((name for mark, name in _MARKS if data.startswith(mark)), "")


def _cure(encoding: str) -> str:
    if encoding:
        return f" and no {encoding}; set the source's `encoding` to that of its texts"
    return f"; set the source's `encoding`, {_EXAMPLES}"
