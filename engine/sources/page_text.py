"""Texts and images of an HTML or Markdown page, in their order.

Nothing is run, and no address in a page is opened here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

from markdown_it import MarkdownIt

_UNSHOWN = frozenset({"noscript", "script", "style", "svg", "template", "title"})
"""Elements whose content is not text of the page; each needs an end tag."""
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins"}
    | {"kbd", "label", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time"}
    | {"tt", "u", "var", "wbr", "img", "picture", "source"}
)
"""Elements that do not begin a line of their own."""
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
    """A page: its title, its images with the text before each, and the text after the last."""

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
    parser.close()
    return parser.page()


def read_markdown(text: str) -> PageText:
    """Read a page of Markdown (CommonMark, with HTML in it); front matter is left out."""
    return read_html(MarkdownIt("commonmark").render(_FRONT_MATTER.sub("", text)))


class _Parser(HTMLParser):
    """Collects the text between images."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._images: list[PageImage] = []
        self._pieces: list[str] = []
        self._title: list[str] = []
        self._within: list[str] = []  # open elements that are not shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSHOWN:
            self._within.append(tag)
        elif tag == "img" and not self._within:
            self._add_image({name: value or "" for name, value in attrs})
        elif tag not in _INLINE:
            self._pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSHOWN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            del self._within[self._within.index(tag) :]
        elif tag not in _INLINE:
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._within:
            self._pieces.append(data.replace("\n", " "))
        elif self._within[-1] == "title":
            self._title.append(data)

    def page(self) -> PageText:
        """Return what was read."""
        title = _plain("".join(self._title).replace("\n", " "))
        return PageText(title=title, images=tuple(self._images), rest=_plain("".join(self._pieces)))

    def _add_image(self, values: dict[str, str]) -> None:
        # Pages that load images late have the address in `data-src`.
        address = values.get("src", "").strip() or values.get("data-src", "").strip()
        before, self._pieces = _plain("".join(self._pieces)), []
        alt = _plain(values.get("alt", "").replace("\n", " "))
        self._images.append(PageImage(address=address, alt=alt, before=before))


def _plain(text: str) -> str:
    """Return a text without blank lines and repeated blanks."""
    return _LINE_ENDS.sub("\n", _BLANKS.sub(" ", text)).strip()
