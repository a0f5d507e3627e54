"""Texts and images of an HTML or Markdown page, in their order.

Nothing is run, and no address in a page is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape

from markdown_it import MarkdownIt

_UNSHOWN = frozenset({"noscript", "script", "style", "svg", "template", "title"})
"""Elements whose content is not text of the page; each needs an end tag."""
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins"}
    | {"kbd", "label", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time"}
    | {"tt", "u", "var", "wbr", "img", "picture", "source"}
)
"""Elements that do not begin a line of their own."""
_NESTED = frozenset({"svg", "template"})
"""Those that may lie in one of the same name."""
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}
"""Where the text ends that has no tags in it."""
_TAG_NAME = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""(?:\s|/(?!>))*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|(?!["'])([^\s>]*+)))?+"""
)
_TAG_END = re.compile(r"([\s/]*+)>")
MAX_TITLE_CHARACTERS = 1000
"""Characters of a title that are kept: it stands in the metadata of each image."""
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_BLANKS = re.compile(r"[ \t\r\f\v\u00a0]+")
_LINE_ENDS = re.compile(r" ?\n[ \n]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class PageImage:
    """An image of a page.

    `address` is what the page has as its address, as it stands there; `alt` describes the image.
    `before` is the text between it and the image before it, or the beginning of the page.
    """

    address: str
    alt: str
    before: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PageText:
    """A page: its title (`MAX_TITLE_CHARACTERS` at most), its images with the text before each, and
    the text after the last."""

    title: str
    images: tuple[PageImage, ...]
    rest: str

    def after(self, number: int) -> str:
        """Return the text between an image and the next one, or the end of the page."""
        following = self.images[number + 1 :]
        return following[0].before if following else self.rest


def read_html(text: str) -> PageText:
    """Read a page of HTML, which may be malformed; a paragraph is a line of text."""
    parser = _Parser()
    parser.feed(text)
    return parser.page()


def read_markdown(text: str) -> PageText:
    """Read a page of Markdown (CommonMark, with HTML in it); front matter is left out."""
    return read_html(MarkdownIt("commonmark").render(_FRONT_MATTER.sub("", text)))


class _Parser:
    """Collects the text between images, in time linear in the length of the page.

    `html.parser` takes the square of it for tags and comments without an end, and reads them
    differently in different releases of Python. Here what has no end is left out up to the end of
    the page, as browsers do.
    """

    def __init__(self) -> None:
        self._images: list[PageImage] = []
        self._pieces: list[str] = []
        self._title: list[str] = []
        self._hidden = ""  # the open element that is not shown
        self._depth = 0  # of elements of its name in each other

    def feed(self, text: str) -> None:
        """Read a page."""
        place = 0
        while 0 <= place < len(text):
            start = text.find("<", place)
            if start < 0:
                start = len(text)
            if start > place:
                self._add_text(unescape(text[place:start]))
            place = self._markup(text, start) if start < len(text) else start

    def _markup(self, text: str, start: int) -> int:
        """Read what begins with `<`; return where it ends, -1 where it does not."""
        if name := _TAG_NAME.match(text, start):
            return self._tag(text, name)
        if text.startswith(("<!-->", "<!--->"), start):
            return text.index(">", start) + 1
        if text.startswith("<!--", start):
            return _after(text, "-->", start + 4)
        if text.startswith(("<!", "<?", "</"), start):
            return _after(text, ">", start)
        self._add_text("<")
        return start + 1

    def _tag(self, text: str, found: re.Match[str]) -> int:
        name = found[2].lower()
        values: dict[str, str] = {}
        place = found.end()
        while one := _ATTRIBUTE.match(text, place):
            value = one[2] or one[3] or one[4] or ""
            values.setdefault(one[1].lower(), unescape(value) if name == "img" else "")
            place = one.end()
        last = _TAG_END.match(text, place)
        if last is None:
            return -1
        if found[1]:
            self._end(name)
        elif not (last[1].endswith("/") and name in _UNSHOWN):
            self._start(name, values)
            if name in _RAW:
                raw_end = _RAW[name].search(text, last.end())
                return raw_end.start() if raw_end else -1
        return last.end()

    def _start(self, name: str, values: Mapping[str, str]) -> None:
        if self._hidden:
            self._depth += name == self._hidden and name in _NESTED
        elif name in _UNSHOWN:
            self._hidden, self._depth = name, 1
        elif name == "img":
            self._add_image(values)
        elif name not in _INLINE:
            self._pieces.append("\n")

    def _end(self, name: str) -> None:
        if self._hidden:
            self._depth -= name == self._hidden
            if not self._depth:
                self._hidden = ""
        elif name not in _INLINE:
            self._pieces.append("\n")

    def _add_text(self, text: str) -> None:
        if not self._hidden:
            self._pieces.append(text.replace("\n", " "))
        elif self._hidden == "title":
            self._title.append(text)

    def page(self) -> PageText:
        """Return what was read."""
        title = _plain("".join(self._title).replace("\n", " "))[:MAX_TITLE_CHARACTERS]
        return PageText(title=title, images=tuple(self._images), rest=_plain("".join(self._pieces)))

    def _add_image(self, values: Mapping[str, str]) -> None:
        # Pages that load images late have the address in `data-src`.
        address = values.get("src", "").strip() or values.get("data-src", "").strip()
        before, self._pieces = _plain("".join(self._pieces)), []
        alt = _plain(values.get("alt", "").replace("\n", " "))
        self._images.append(PageImage(address=address, alt=alt, before=before))


def _after(text: str, mark: str, start: int) -> int:
    """Return the place after a mark, -1 where there is none."""
    found = text.find(mark, start)
    return found + len(mark) if found >= 0 else -1


def _plain(text: str) -> str:
    """Return a text without blank lines and repeated blanks."""
    return _LINE_ENDS.sub("\n", _BLANKS.sub(" ", text)).strip()
