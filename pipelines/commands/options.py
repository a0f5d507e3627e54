"""What the commands share: standard output and error, and common options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from florilegium.engine.core.errors import UsageError
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.commands.shipped import config_file
from florilegium.pipelines.terminal.console import ERR, Terminal

out = Terminal()
err = ERR


def local_folder(text: str) -> Path:
    """Return the path of a folder to write on this machine.

    Raises:
        UsageError: it is a URL; as a path it would be a folder named `s3:`.
    """
    if "://" in text:
        raise UsageError(
            f"--output {cut(text)} is a URL, and this command writes into a folder on this "
            f"machine: give a path, and copy the folder to the storage afterwards"
        )
    return Path(text)


ConfigFile = Annotated[
    Path,
    typer.Argument(
        parser=config_file,
        metavar="CONFIG",
        help="A YAML file, or the name of a shipped config: `florilegium configs` lists them.",
    ),
]
Directory = Annotated[str, typer.Argument(metavar="DIR", help="The folder of a dataset.")]


SourceOption = Annotated[str | None, typer.Option("--source", help="Read the images from here.")]
OutputOption = Annotated[str | None, typer.Option("--output", help="Write the dataset here.")]
RunnerOption = Annotated[
    str | None,
    typer.Option("--runner", help="`auto`, `ray`, `local` (one worker process), `in_process`."),
]


def overrides_like(examples: str) -> Any:
    """Return the option `--set` of a command whose config has such keys."""
    return typer.Option("--set", metavar="A.B=C", help=f"Override a key: {examples}.")


Overrides = Annotated[list[str] | None, overrides_like("shard_size=64, filters.nms=null (off)")]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="Workers and GPUs of each stage: a file of `plan --save`."),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Drop samples whose source the config no longer reads."),
]
MaxDeadLetterShare = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Fail when more than this share of the inputs fails; default 0.1."
    ),
]
NoPlugins = Annotated[
    bool,
    typer.Option(
        "--no-plugins", help="Refuse a config that names modules: run what is installed only."
    ),
]
PluginPath = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin-path",
        metavar="DIR",
        help="Search this folder for modules, too; `.` is the current one.",
    ),
]
RetryDeadLetters = Annotated[
    bool, typer.Option("--retry-dead-letters", help="Try failed images again.")
]
Check = Annotated[
    bool, typer.Option("--check", help="Read finished shards and rebuild damaged ones.")
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the log of the run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, print the plan, stop.")]


def warn(lines: Iterable[str]) -> None:
    """Print what a user should know although the command goes on."""
    for line in lines:
        err.say(line, label="warning", style="yellow")


def given(**changes: str | float | list[str] | None) -> dict[str, Any]:
    """Return the options that were set on the command line."""
    return {name: value for name, value in changes.items() if value is not None}
