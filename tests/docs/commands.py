"""The commands of a console block: split as a shell does, checked against the command line.

A line is a command; where any line begins with `$ `, only those are, and the others are output.
Knows which commands are quick enough to be run here; it runs none itself.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from florilegium.pipelines.commands.loading import load
from florilegium.pipelines.commands.main import app
from tests.conftest import ROOT
from tests.docs.blocks import Block

OURS = "florilegium"
EXPENSIVE = {
    "refine": "it trains for minutes",
    "train": "it trains for minutes",
    "plan": "it measures every stage",
    "submit": "it needs a cluster",
    "job": "it needs a cluster",
    "score": "it needs the rounds of a refinement",
    "diff": "it needs the rounds of a refinement",
    "serve": "it answers until it is stopped",
}
"""Commands that are not run anywhere in the documentation, and why; their arguments are checked."""
_WITH_CONFIG = ("build", "refresh", "refine", "plan", "submit")
"""Commands whose config is that of a run."""
EXPENSIVE_CONFIGS = re.compile(r"fld5b|florence2_refine|known_|cluster")
"""Configs that need a cluster, models that are not here, or minutes."""
EXPENSIVE_OPTIONS = ("--watch", "--slice", "--finish", "--drop-slices", "--accept")
"""Options that wait, or that need other builds before them."""
_PLACEHOLDER = re.compile(r"(^|[/=:])([A-Z][A-Z_]+)(\.\w+)?($|[/:])|\.\.\.|<\w+>")
_OPTIONAL = re.compile(r"\[(-[^\]]*)\]")
_ASSIGNMENT = re.compile(r"\w+=\S*")
_EXTRAS = re.compile(r"(florilegium|\.|\.whl)\[([\w,-]+)\]")
_TARGET = re.compile(r"^([\w-]+):", re.MULTILINE)
_OF_OTHERS = (
    *("aws", "az", "cd", "cp", "crontab", "curl", "docker", "export", "gcloud", "git", "gsutil"),
    *("head", "hf", "jq", "kubectl", "ls", "mkdir", "openssl", "pre-commit", "pytest", "ray"),
    *("sbatch", "source", "tee", "torchrun", "touch", "unzip"),
)
"""Programs of which a page may write what it likes."""
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its words, and the file that its output goes to, if any."""

    words: tuple[str, ...]
    writes: str = ""

    @property
    def is_ours(self) -> bool:
        return self.words[0] == OURS

    @property
    def is_template(self) -> bool:
        """Whether a word stands for one that the reader puts there, such as `IMAGE`."""
        return any(map(_PLACEHOLDER.search, self.words))

    @property
    def is_quick(self) -> bool:
        """Whether it can be run here, in a second or two, with what every page has."""
        arguments = self.words[1:]
        is_small = arguments[:1] != () and arguments[0] not in EXPENSIVE
        is_remote = any("://" in word.replace("package://", "") for word in arguments)
        is_long = any(word in EXPENSIVE_OPTIONS for word in arguments)
        is_large = "--dry-run" not in arguments and any(map(EXPENSIVE_CONFIGS.search, arguments))
        return is_small and not (is_remote or is_long or is_large)


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block, those after `&&`, `;` and `|` too.

    Raises:
        ValueError: a line is not as a shell reads it, or is no command.
    """
    return list(_commands(block))


def _commands(block: Block) -> Iterator[Command]:
    lines = block.text.replace("\\\n", " ").split("\n")
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        lexer = shlex.shlex(_OPTIONAL.sub(r"\1", line), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|&;"):
                words.append(word)
            elif words:
                yield _command(words)
                words = []


def _command(words: Sequence[str]) -> Command:
    first = next((n for n, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), 0)
    words, writes = words[first:], ""
    if ">" in words:
        at = words.index(">")
        words, writes = words[:at], words[at + 1]
    if tuple(words[:3]) == ("python", "-m", OURS):
        words = words[2:]
    return Command(words=tuple(words), writes=writes)


def check(command: Command) -> None:
    """Check a command without running it.

    Raises:
        ValueError: with what is wrong.
    """
    program, *arguments = command.words
    if command.is_ours:
        _check_ours(arguments)
    elif program == "make":
        _check_targets(arguments)
    elif program in ("python", "python3"):
        _check_python(arguments)
    elif program.startswith("./"):
        _check_script(program)
    elif program not in ("pip", *_OF_OTHERS) and not _ASSIGNMENT.fullmatch(program):
        raise ValueError(
            f"{program!r} is no program that pages may name: give the block another language, "
            f"or add it to {Path(__file__).name}"
        )
    _check_extras(command.words)


def _check_ours(arguments: Sequence[str]) -> None:
    """Have the command line parse arguments, and load the config that they name."""
    command, name, rest = typer.main.get_command(app), OURS, list(arguments)
    context = None
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                break
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)
    except typer.Exit:  # of --help and --version
        return
    except _USAGE_ERROR as error:
        raise ValueError(error.format_message()) from error
    config = context.params.get("config")
    if name in _WITH_CONFIG and not _PLACEHOLDER.search(str(config)):
        load(config, overrides=context.params["overrides"], no_plugins=False)


def _check_targets(arguments: Sequence[str]) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text("utf-8")))
    for word in arguments:
        if not word.startswith("-") and "=" not in word and word not in targets:
            raise ValueError(f"the Makefile has no target {word!r}")


def _check_python(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["-m"] and find_spec(arguments[1].partition(".")[0]) is None:
        raise ValueError(f"there is no module {arguments[1]!r}")
    if arguments and arguments[0].endswith(".py"):
        _check_script(arguments[0])


def _check_script(name: str) -> None:
    if not any((folder / name).is_file() for folder in (Path(), ROOT)):
        raise ValueError(f"there is no file {name!r}")


def _check_extras(words: Sequence[str]) -> None:
    for word in words:
        for package, names in _EXTRAS.findall(word):
            is_own = package == "." and Path("pyproject.toml").is_file()
            path = (Path() if is_own else ROOT) / "pyproject.toml"
            project = tomllib.loads(path.read_text("utf-8"))["project"]
            if unknown := set(names.split(",")) - set(project["optional-dependencies"]):
                raise ValueError(f"pyproject.toml has no extra {min(unknown)!r}")
