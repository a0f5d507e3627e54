"""What strangers wrote reaches no terminal, log, page or card but as text that can be seen."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from rich.table import Table

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.execution.progress import Progress
from florilegium.pipelines.commands.tables import print_table
from florilegium.pipelines.dataset.card import markdown
from florilegium.pipelines.terminal.console import Terminal
from florilegium.pipelines.terminal.progress import shown
from tests.end_to_end.conftest import Command

Written = Callable[..., Path]
ORDERS = (
    *("\x1b]0;pwn\x07", "\x1b[2J", "\x9b31m", "\u202eevil", "\u2066evil\u2069", "\u200f", "\u061c"),
    *("[bold]x[/bold]", "[link=http://evil]x[/link]", ":skull:", "\r", "\u2028", "\u2029", "\x7f"),
    *("\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u3164", "\x85", "\x0b", "\x08", "\ttab"),
)
CANARY = "<a>".join(ORDERS)
HTML = """<script>alert(1)</script></title></style>--><img src=x onerror=alert(1)>"'`"""
MARKUP = "|`x` [a](javascript:x) ![i](http://evil/x.png)\n---\nconfigs: []\n<img src=x>"


def assert_visible(text: str, *, keep: str = "\n") -> None:
    """Nothing in a text is obeyed by a terminal, or cannot be seen."""
    for one in set(text) - set(keep):
        assert unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp"), repr(one)
        assert one not in "\u3164\u115f\u034f", repr(one)


class Hostile(Specialist[StageConfig]):
    """Says what would steer a terminal, and fails with it on some images."""

    produces = ("caption", "tag", "object_detection")

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        for sample in samples:
            if "bad" in sample.key:
                raise ValueError(CANARY + "\n2026-01-01T00:00:00Z ERROR   forged\nerror forged")
        box = (0.0, 0.0, 9.0, 9.0)
        return [
            [
                Annotation(kind="text", task="caption", text=CANARY + HTML + MARKUP),
                Annotation(kind="text", task="tag", text=CANARY, label=CANARY),
                Annotation(kind="region", task="object_detection", label=HTML, box_xyxy=box),
            ]
            for _ in samples
        ]

    @property
    def model(self) -> str:
        return CANARY + HTML + MARKUP

    def revision(self) -> str:
        return MARKUP + HTML


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of images with names and captions that give orders."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"good{order.replace('/', '')}.png" for order in ORDERS]
    names += ["bad\x1b[31m.png", "bad\u202e.png", "bad\ned.png"]
    for name in names:
        Image.new("RGB", (32, 24)).save(folder / name)
    (folder / "good\r.txt").write_text(CANARY + HTML)
    (folder / "broken\x1b]0;x\x07\u202e.png").write_bytes(b"no image")
    return folder


def write(hostile: Path, output: Path, written: Written) -> Path:
    stages = {"hostile": {"use": "tests.end_to_end.test_text_of_strangers:Hostile"}}
    return written(hostile, output, specialists=stages, runner={"kind": "in_process"})


@pytest.mark.attack("text")
def test_no_command_lets_a_stranger_steer_the_terminal(
    hostile: Path, tmp_path: Path, florilegium: Command, written: Written
) -> None:
    output = tmp_path / "out"
    config = write(hostile, output, written)
    commands: list[list[object]] = [
        ["build", config, "--max-dead-letter-share", "1"],
        ["build", config, "--max-dead-letter-share", "0", "--retry-dead-letters"],
        ["build", config, "--dry-run"],
        ["build", config, "--source", tmp_path / "no\x1b[31m\u202eplace"],
        ["build", config, "--set", "shard_size=\u202e[red]"],
        ["build", config, "--set", "\x1b[31m=1"],
        ["build", tmp_path / "\x9b31m.yaml"],
        ["build", "a", "b\x1b[31m\u202e"],
        ["--\x1b[31m\u202e"],
        ["\x1b[31m\u202e"],
        ["status", output],
        ["status", output, "--json"],
        ["why", output, "good"],
        ["why", output, "bad"],
        ["why", output, "good\x1b]0;pwn\x07.png"],
        ["why", output, "\u202e\x1b[31m"],
        ["why", output, "good\\u061c.png"],
        ["verify", output],
        ["report", output],
        ["clean", output, "--dry-run"],
        ["status", f"{tmp_path}/\x1b[31m\u202e"],
        ["score", output],
        ["diff", output, "0", "1"],
        ["export", output, "--format", "florence2", "--output", tmp_path / "\x1b[31m"],
        ["export", output, "--format", "coco", "--output", tmp_path / "\x9b31m"],
        ["export", output, "--format", "\x1b[31m", "--output", tmp_path / "other"],
    ]
    shown = {tuple(map(str, command)): florilegium(*command) for command in commands}
    for command, ended in shown.items():
        assert_visible(ended.out)
        assert_visible(ended.err)
        assert not re.search(r"^(error )?forged", ended.out + ended.err, re.MULTILINE), command
        assert "Traceback" not in ended.err, ended.err
    first = shown[tuple(map(str, commands[0]))]
    assert first.code == 0, first.err
    assert r"\x1b]0;pwn\x07" in first.out, "an order is shown, not left out"
    assert "[bold]x[/bold]" in first.out
    assert ":skull:" in first.out
    found = shown["why", str(output), "good\\u061c.png"]
    assert found.code == 0, "a name as it is shown finds its image"
    (output / "manifest.json").write_text("\x1b[31m{\u202e")
    for ended in (florilegium("verify", output), florilegium("why", output, "x")):
        assert ended.code
        assert_visible(ended.out + ended.err)
    assert_visible((output / "run.log").read_text("utf-8"))
    entries = (output / "run.log").read_text("utf-8").splitlines()
    assert not any("forged" in line and line.startswith("2026-01") for line in entries)
    assert all(line.startswith("  ") or line[:2] == "20" for line in entries)


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        assert_visible("".join(str(value) for _, value in attrs), keep="\n\u200c\u200d")
        self.links |= {str(value)[:5] for name, value in attrs if name in ("href", "src")}


@pytest.mark.attack("text")
def test_a_page_and_a_card_show_it_as_text(
    hostile: Path, tmp_path: Path, florilegium: Command, written: Written
) -> None:
    output = tmp_path / "out"
    config = write(hostile, output, written)
    assert florilegium("build", config, "--max-dead-letter-share", "1").code == 0
    page = (output / "report.html").read_text("utf-8")
    isolated = re.compile(r"<bdi[^>]*>.*?</bdi>|<(p|td) dir=\"auto\".*?</\1>", re.DOTALL)
    assert_visible(isolated.sub("", page), keep="\n\u200c\u200d")
    assert_visible(page, keep="\n\u200c\u200d\u061c\u200f\u202e")
    tags = Tags()
    tags.feed(page)
    assert page.count("<script") == 1
    assert not tags.names & {"iframe", "a:", "object", "embed", "bold"}
    assert not any(name.startswith("on") for name in tags.attributes)
    assert tags.links <= {
        *("data:", "#samp", "#plat", "#anno", "#drop", "#shap", "#type", "#fail"),
        *("#more", "#swit"),
    }
    card = (output / "README.md").read_text("utf-8")
    assert_visible(card)
    front, body = card.split("\n---\n", maxsplit=1)
    assert len(yaml.safe_load(front.removeprefix("---\n"))["configs"]) == 1
    assert "\n---\n" not in body
    assert "<" not in body.replace("&lt;", "")
    rows = [line for line in body.splitlines() if "hostile" in line]
    assert len(rows) == 1
    cells = re.split(r"(?<!\\)\|", re.sub(r"\\\\", "", rows[0]))
    assert len(cells) == 6, "four cells between five bars"
    assert "](" not in re.sub(r"\\.", "", body)
    assert "http:" not in body


@pytest.mark.attack("text")
@pytest.mark.parametrize("text", [*ORDERS, HTML, MARKUP, "http://evil", "www.evil.org", "a@b.org"])
def test_markdown_makes_nothing_of_it(text: str) -> None:
    shown = markdown(text)
    assert_visible(shown, keep="")
    bare = re.sub(r"\\.", "", shown)
    assert not re.search(r"[|`<>\[\]]|https?:|www\.|@", bare)


@pytest.mark.attack("text")
def test_a_terminal_is_steered_by_us_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for terminal in (Terminal(), Terminal(stderr=True)):
        terminal.say(CANARY)
        terminal.say(CANARY, label="wrong", style="red")
        terminal.error(CANARY)
        table = Table(title=CANARY, caption=CANARY)
        table.add_column(CANARY)
        table.add_row(CANARY)
        print_table(terminal, table)
    progress = Progress(current=CANARY, step=CANARY)
    progress.notes.append(CANARY)
    with shown(progress):
        pass
    ours = re.compile("\r?\x1b\\[[0-9;?]*[a-zA-Z]")
    for text in capsys.readouterr():
        assert ours.search(text)
        assert_visible(ours.sub("", text))
        assert r"\x1b]0;pwn\x07" in text


@pytest.mark.attack("text")
def test_an_error_is_cut_to_what_somebody_reads(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(stderr=True).error("x" * 1_000_000)
    Terminal(stderr=True).error("\n".join("x" * 100_000))
    shown = capsys.readouterr().err
    assert len(shown) < 5000
    assert "(1000000 characters)" in shown
    assert "more lines" in shown


@pytest.mark.attack("text")
def test_json_for_a_terminal_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    from florilegium.engine.untrusted.escaped import json_text

    value: Any = {CANARY: [CANARY, {"a": CANARY}]}
    shown = json_text(value)
    assert shown.isascii()
    assert_visible(shown)
    assert json.loads(shown) == value
