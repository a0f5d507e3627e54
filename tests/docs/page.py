"""A page is run: its blocks in their order, in one folder, with one set of names.

A block of Python or YAML whose first line is a comment with a file name is also written to that
file, so that later blocks find it. Functions `test_...` in a block of Python are called. Commands
follow `cd`, and a package that the page has made can be installed by `pip install`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from inspect import signature
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from florilegium.pipelines.commands.main import main
from tests.docs.blocks import Block
from tests.docs.commands import Command, check, commands_of
from tests.docs.stanzas import check_yaml

DEFAULTS = {"--runner": "in_process", "--source": "~/Pictures"}
"""What `build` gets where a page gives nothing else: processes cost seconds, as do the photographs
of the quickstart. A config of the page's own has its source."""
MEANT = {"CONFIG": "mine.yaml", "IMAGE": "cat"}
"""What a word that the reader replaces means here."""
FREE = ("", "text", "mermaid", "html", "markdown", "md", "dockerfile", "csv", "diff")
"""Languages of which a block may say what it likes."""
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_RUN = re.compile(r"^(\$ |florilegium |pip install|make |import |from \w+ import)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is wrong with a block."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class Console:
    """A folder in which a page is run, with the names that its Python has defined so far."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})

    def run(self, blocks: Sequence[Block]) -> list[Failure]:
        """Run or check every block and return what failed."""
        return [
            Failure(place=block.place, what=what) for block in blocks for what in self._run(block)
        ]

    def _run(self, block: Block) -> Iterator[str]:
        kinds: dict[str, Callable[[Block], None]] = {
            "python": self._python,
            "yaml": self._yaml,
            "json": lambda block: json.loads(block.text),
            "jsonl": lambda block: [json.loads(line) for line in block.text.splitlines()] and None,
            "toml": lambda block: tomllib.loads(block.text) and None,
        }
        if block.language == "console":
            yield from self._console(block)
        elif block.language in kinds:
            if not block.reason:
                yield from _caught(kinds[block.language], block)
        elif block.language in FREE:
            if not block.language and _RUN.search(block.text):
                yield "the block has no language, but looks like commands or Python"
        elif not block.language.startswith("{"):
            yield f"the language {block.language!r} is not known: see tests/docs/page.py"

    def _console(self, block: Block) -> Iterator[str]:
        try:
            commands = commands_of(block)
        except ValueError as error:
            yield str(error)
            return
        for command in commands:
            meant = replace(command, words=tuple(MEANT.get(word, word) for word in command.words))
            for what in _caught(self._command, meant, is_run=not block.reason):
                yield f"`{' '.join(command.words)}`: {what}"

    def _command(self, command: Command, *, is_run: bool) -> None:
        command = replace(command, words=tuple(map(_at_home, command.words)))
        if command.is_ours and is_run and command.is_quick and not command.is_template:
            out = run_command(*command.words)
            if command.writes:
                Path(command.writes).write_text(out, "utf-8")
            return
        check(command)
        if is_run and command.words[0] == "cd":
            os.chdir(command.words[1])
        if is_run and command.words[:2] == ("pip", "install"):
            folder = Path(command.words[-1].partition("[")[0])
            if (folder / "pyproject.toml").is_file():
                self._install(folder.resolve())

    def _install(self, folder: Path) -> None:
        """Let Python find a package and its entry points, as an installation does."""
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        info = self.folder / "site" / f"{project['name'].replace('-', '_')}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n", "utf-8"
        )
        lines = [
            line
            for group, names in project.get("entry-points", {}).items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
        sys.path[:0] = [str(info.parent), str(folder / "src"), str(folder)]

    def _python(self, block: Block) -> None:
        self._write(block)
        before = dict(self.names)
        with redirect_stdout(StringIO()):
            exec(compile(block.text, block.place, "exec", dont_inherit=True), self.names)
            for name, value in self.names.items():
                is_new = name.startswith("test_") and value is not before.get(name)
                if is_new and not signature(value).parameters:
                    value()

    def _yaml(self, block: Block) -> None:
        self._write(block)
        check_yaml(block.text)

    def _write(self, block: Block) -> None:
        if named := _FILE.match(block.text):
            path = Path(named[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")


def _caught(run: Callable[..., None], *arguments: Any, **options: Any) -> Iterator[str]:
    try:
        run(*arguments, **options)
    except Exception as error:
        line = error.__traceback__
        number = 0
        while line is not None:  # the last one in a block of Python
            if line.tb_frame.f_globals.get("__name__") == "page":
                number = line.tb_lineno
            line = line.tb_next
        at = f"line {number} of the block: " if number else ""
        yield f"{at}{type(error).__name__}: {error}"


def _at_home(word: str) -> str:
    return str(Path(word).expanduser()) if word.startswith("~") else word


def run_command(*words: str) -> str:
    """Call the command line in this process, and return what it printed on standard output.

    Raises:
        RuntimeError: it did not end with 0.
    """
    out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [*words, *_defaults(words)])
        with pytest.raises(SystemExit) as ended:
            main()
    printed, wrong = (one.buffer.getvalue().decode() for one in (out, err))  # type: ignore[attr-defined]
    if ended.value.code:
        raise RuntimeError(f"ended with {ended.value.code}: {wrong or printed}")
    return str(printed)


def _defaults(words: Sequence[str]) -> Iterator[str]:
    """Yield the options that a command of a page lacks to be quick."""
    if words[1] in ("build", "refresh"):
        is_shipped = words[2].removeprefix("configs/").removesuffix(".yaml") == "quickstart"
        for name, value in DEFAULTS.items():
            if name not in words and (is_shipped or name != "--source"):
                yield from (name, _at_home(value))
