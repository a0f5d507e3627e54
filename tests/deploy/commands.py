"""Whether a command line is one of ours: parsed by our own command line, not run."""

from __future__ import annotations

import shlex

import typer

from florilegium.pipelines.commands.main import app


def parse(command: str | list[str]) -> dict[str, object]:
    """Return the values of the options of a command; wrong ones raise.

    Raises:
        click.UsageError: a command or an option is unknown, or a value is wrong.
    """
    words = shlex.split(command) if isinstance(command, str) else list(command)
    assert words[0] == "florilegium", words
    group = typer.main.get_command(app)
    context = group.make_context("florilegium", words[1:])
    name, *rest = [*context._protected_args, *context.args]
    return dict(group.commands[name].make_context(name, rest).params)  # type: ignore[attr-defined]
