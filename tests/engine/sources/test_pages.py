"""Pages of HTML and Markdown: every image is an input or a dead letter, and no text is lost."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.partition import partition
from florilegium.engine.sources.page_text import (
    MAX_TITLE_CHARACTERS,
    read_html,
    read_markdown,
)
from florilegium.engine.sources.pages import PagesSource
from florilegium.engine.sources.source import Reading
from tests.engine.sources.conftest import read_all, source_at

HTML = """<!doctype html><html><head><title>Two &amp; more</title><style>p {}</style>
<script>document.write("<img src=never.jpg>")</script></head>
<body><h1>Birds</h1><p>A <b>finch</b>
 eats.</p><img src="img/finch.jpg?w=2" alt="a finch"><p>Then<br>it flies.</p>
<noscript><img src="never.jpg"></noscript>
<img data-src="/shared/nest.png"><p>The end.</body></html>"""


@pytest.fixture
def site(tmp_path: Path, jpeg: bytes) -> Path:
    """A page in a folder, with an image beside it and one at the root of the site."""
    folder = tmp_path / "site"
    for name, data in {
        "posts/birds.html": HTML.encode(),
        "posts/img/finch.jpg": jpeg,
        "shared/nest.png": jpeg + b"nest",
        "readme.txt": b"no page",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pages_at(folder: Path, **options: object) -> PagesSource:
    source = source_at(folder, kind="pages", **options)
    assert isinstance(source, PagesSource)
    return source


def metadata_of(reading: Reading) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reading.metadata)
    return found


def test_images_come_in_their_order_with_the_text_around_them(site: Path, jpeg: bytes) -> None:
    source = pages_at(site)
    readings, dead_letters = read_all(source)
    assert not dead_letters
    assert [one.data for one in readings] == [jpeg, jpeg + b"nest"]
    assert [one.name for one in readings] == ["birds.html/000", "birds.html/001"]
    assert [one.location for one in readings] == ["posts/birds.html#0", "posts/birds.html#1"]
    first, second = map(metadata_of, readings)
    assert first == {
        "page": "posts/birds.html",
        "title": "Two & more",
        "position": 0,
        "positions": 2,
        "alt": "a finch",
        "before": "Birds\nA finch eats.",
        "after": "Then\nit flies.",
    }
    assert (second["before"], second["after"], second["alt"]) == (first["after"], "The end.", "")
    assert source.remarks() == ("1 file left alone: 1 .txt",)


def test_markdown_is_read_without_its_front_matter() -> None:
    page = read_markdown('---\ntitle: "x"\n---\n# One\n\n![a *b*](c.jpg "t") two\n\n- three\n')
    (image,) = page.images
    assert (image.address, image.alt, image.before) == ("c.jpg", "a b", "One")
    assert page.rest == "two\n\nthree".replace("\n\n", "\n")


def test_malformed_pages_are_read_as_far_as_they_go() -> None:
    page = read_html("<p>a<img src=1.jpg>b<div><img src='2.jpg' alt=x/>c</p></div></nav>d<")
    assert [(one.address, one.before) for one in page.images] == [("1.jpg", "a"), ("2.jpg", "b")]
    assert page.rest == "c\nd<"


OPENED = ("<a ", '<a x="', "<a x='", "</a ", "<!--", "<!x", "<?", "<script>", "<svg>", "&#")


@pytest.mark.parametrize("opened", OPENED)
def test_what_is_never_closed_takes_no_square_of_its_length(opened: str) -> None:
    start = process_time()
    read_html("<svg>" * 20_000 + "</title>" * 20_000)
    read_html("<img src=a.png>" + opened * 20_000)
    read_markdown("![](a.png)\n\n" + opened * 2_000)
    assert process_time() - start < 2


def test_markup_without_an_end_hides_the_rest_and_nothing_before_it() -> None:
    page = read_html("one<img src='a.png' / >two < 3<img alt='x' src=b.png><!-- three <img src=c>")
    assert [(one.address, one.alt, one.before) for one in page.images] == [
        ("a.png", "", "one"),
        ("b.png", "x", "two < 3"),
    ]
    assert page.rest == ""


def test_a_title_within_a_drawing_is_not_that_of_the_page() -> None:
    page = read_html("<title>A</title><svg><svg></svg><title>B</title>x</svg>y<img src=a>")
    assert (page.title, page.images[0].before) == ("A", "y")


def test_a_long_title_is_cut() -> None:
    assert len(read_html(f"<title>{'t' * 5000}</title>").title) == MAX_TITLE_CHARACTERS


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://host.example/a.jpg", "image_not_in_source"),
        ("//host.example/a.jpg", "image_not_in_source"),
        ("file:///etc/passwd", "image_not_in_source"),
        ("../../outside.jpg", "image_not_in_source"),
        ("/../outside.jpg", "image_not_in_source"),
        ("%2e%2e/%2e%2e/outside.jpg", "image_not_in_source"),
        ("../.hidden/a.jpg", "image_not_in_source"),
        ("http://[", "image_not_in_source"),
        ("missing.jpg", "unreadable_file"),
        ("link.jpg", "link_not_followed"),
        ("data:image/png;base64,A", "unreadable_page"),
        ("", "no_address"),
    ],
)
def test_an_image_that_is_not_in_the_source_is_a_dead_letter(
    site: Path, jpeg: bytes, address: str, reason: str
) -> None:
    (site.parent / "outside.jpg").write_bytes(jpeg)
    (site / ".hidden").mkdir()
    (site / ".hidden" / "a.jpg").write_bytes(jpeg)
    (site / "posts" / "link.jpg").symlink_to(site.parent / "outside.jpg")
    page = f'<img src="{address}">after<img src="img/finch.jpg">'
    (site / "posts" / "birds.html").write_text(page)
    (reading,), (letter,) = read_all(pages_at(site))
    assert (letter.key, letter.source) == ("birds.html/000", "posts/birds.html#0")
    assert letter.reason == reason
    assert metadata_of(reading)["before"] == "after"


def test_a_data_url_is_an_image_within_the_limit(site: Path, jpeg: bytes) -> None:
    text = base64.b64encode(jpeg).decode()
    (site / "posts" / "birds.html").write_text(f'<img src="data:image/jpeg;base64,{text}">')
    (reading,), _ = read_all(pages_at(site))
    assert reading.data == jpeg
    page_size = (site / "posts" / "birds.html").stat().st_size
    large = f'<img src="data:image/jpeg;base64,{text}{text}">'
    (site / "posts" / "birds.html").write_text(large)
    none, (letter,) = read_all(pages_at(site, max_file_bytes=page_size))
    assert not none
    assert letter.reason == "too_many_bytes"


def test_a_page_beyond_the_limit_of_texts_is_a_dead_letter(site: Path) -> None:
    size = (site / "posts" / "birds.html").stat().st_size
    assert not read_all(pages_at(site, max_label_bytes=size))[1]
    readings, (letter,) = read_all(pages_at(site, max_label_bytes=size - 1))
    assert not readings
    assert (letter.source, letter.reason) == ("posts/birds.html", "page_too_large")
    assert f"{size} bytes, the limit is {size - 1}; `limits.max_label_bytes`" in letter.message


def test_a_page_that_is_no_text_is_a_dead_letter(site: Path) -> None:
    (site / "posts" / "birds.html").write_bytes("<p>größe".encode("latin-1"))
    (letter,) = read_all(pages_at(site))[1]
    assert (letter.source, letter.reason) == ("posts/birds.html", "unreadable_page")
    (site / "posts" / "birds.html").write_bytes('größe<img src="img/finch.jpg">'.encode("latin-1"))
    (reading,), _ = read_all(pages_at(site, encoding="latin-1"))
    assert metadata_of(reading)["before"] == "größe"


def test_a_changed_page_or_image_changes_the_item(site: Path, jpeg: bytes) -> None:
    def signature() -> str:
        (item,) = pages_at(site).items()
        return item.signature

    first = signature()
    assert signature() == first
    (site / "shared" / "nest.png").write_bytes(jpeg + b"another nest")
    second = signature()
    (site / "posts" / "birds.html").write_text("<p>no image</p>")
    assert len({first, second, signature()}) == 3


def test_keys_stay_when_pages_are_added(site: Path, jpeg: bytes) -> None:
    def names(parts: int) -> list[tuple[str, str]]:
        source = pages_at(site, parts=parts)
        found = [(item, one) for item in source.items() for one in source.read(item)]
        named = [(item, one) for item, one in found if isinstance(one, Reading)]
        assert named == found
        return [(f"{item.location}{item.start}", str(one.name)) for item, one in named]

    before = names(4)
    for number in range(40):
        (site / "posts" / f"a{number}.md").write_text("![](img/finch.jpg)")
    after = names(4)
    assert set(before) < set(after)
    assert len({part for part, _ in after}) == 4
    assert sorted(name for _, name in names(1)) == sorted(name for _, name in after)
    shards = list(partition([pages_at(site, parts=4)]))
    assert [len(shard.entries) for shard in shards] == [1, 1, 1, 1]


def test_a_single_page_is_a_source_too(site: Path) -> None:
    readings, dead_letters = read_all(pages_at(site / "posts" / "birds.html"))
    assert [one.name for one in readings] == ["birds.html/000"]
    assert [one.reason for one in dead_letters] == ["unreadable_file"]
    with pytest.raises(ConfigError, match=r"has no \.html or"):
        list(pages_at(site / "shared").items())
