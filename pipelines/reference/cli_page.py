"""The page about the command line, from the signatures of the commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, get_args, get_origin

from typer import Context
from typer.main import Typer
from typer.models import ArgumentInfo, CommandInfo, OptionInfo

from florilegium.pipelines.reference.markdown import code, heading, link, prose, table
from florilegium.pipelines.reference.model_schema import joined

_SCRIPT = "florilegium"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An argument or an option of a command. `spelling` is how it is written, `default` empty where
    it has none."""

    spelling: str
    is_required: bool
    default: str
    doc: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, with the words that call it."""

    words: str
    doc: str
    parameters: tuple[Parameter, ...]

    @property
    def usage(self) -> str:
        """How it is called."""
        given = [one.spelling for one in self.parameters if one.is_required]
        is_more = any(not one.is_required for one in self.parameters)
        return " ".join([self.words, *given, *(["[OPTIONS]"] if is_more else [])])


def installed_commands() -> list[Command]:
    """Return all commands in the order of `--help`; the program is found as its script finds it."""
    (script,) = entry_points(group="console_scripts", name=_SCRIPT)
    return list(_commands_of(import_module(script.module).app, _SCRIPT))


def _commands_of(app: Typer, words: str) -> Iterator[Command]:
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        yield _command(f"{words} {name}", info, info.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands_of(group.typer_instance, f"{words} {group.name}")


def _command(words: str, info: CommandInfo, function: Callable[..., Any]) -> Command:
    found = inspect.signature(function, eval_str=True).parameters.values()
    return Command(
        words=words,
        doc=joined(inspect.cleandoc(info.help or function.__doc__ or "")),
        parameters=tuple(_parameter(one) for one in found if one.annotation is not Context),
    )


def _parameter(parameter: inspect.Parameter) -> Parameter:
    kind, *marks = get_args(parameter.annotation)
    info = next(one for one in marks if isinstance(one, ArgumentInfo | OptionInfo))
    is_required = parameter.default is inspect.Parameter.empty
    is_shown = not is_required and parameter.default not in (None, False)
    return Parameter(
        spelling=_spelling(parameter.name, kind, info, is_required=is_required),
        is_required=is_required,
        default=str(parameter.default) if is_shown else "",
        doc=info.help or "",
    )


def _spelling(name: str, kind: Any, info: ArgumentInfo | OptionInfo, *, is_required: bool) -> str:
    value = info.metavar or _value_of(kind)
    if isinstance(info, ArgumentInfo):
        word = info.metavar or name.upper()
        word += "..." if get_origin(kind) is list else ""
        return word if is_required else f"[{word}]"
    # In an annotation the first one stands in the place of the default.
    given = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    own = "/".join(given) or f"--{name.replace('_', '-')}"
    return f"{own} {value}".rstrip()


def _value_of(kind: Any) -> str:
    """Return what stands for a value in a usage line; nothing for a flag."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    options = [one for one in (get_args(kind) or (kind,)) if one is not type(None)]
    chosen = options[0]
    if chosen is bool:
        return ""
    if isinstance(chosen, type) and issubclass(chosen, Enum):
        return "|".join(str(one.value) for one in chosen)
    names = {int: "NUMBER", float: "NUMBER"}
    return names.get(chosen, "PATH" if getattr(chosen, "__name__", "") == "Path" else "TEXT")


def cli_page() -> str:
    """Return the page of all commands."""
    commands = installed_commands()
    first = [one.doc.split("\n\n")[0] for one in commands]
    rows = (
        (link(code(one.words), "command", one.words), prose(text))
        for one, text in zip(commands, first, strict=True)
    )
    text = heading(1, "Command line")
    text += "`florilegium COMMAND --help` prints the same. "
    text += "[Exit codes](exit-codes.md) are those of all commands.\n\n"
    return text + table(("command", "what it does"), rows) + "".join(map(_section, commands))


def _section(command: Command) -> str:
    text = heading(2, code(command.words), "command", command.words)
    text += f"{prose(command.doc)}\n\n```text\n{command.usage}\n```\n\n"
    rows = (
        (
            code(one.spelling),
            prose(one.doc) + (f" Default: {code(one.default)}." if one.default else ""),
        )
        for one in command.parameters
    )
    return text + (table(("argument or option", "meaning"), rows) if command.parameters else "")
