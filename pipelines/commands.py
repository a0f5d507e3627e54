"""The command line: `florilegium build | status | verify | why | report | stages`.

Parses, calls, prints and exits: 0 done, 1 failed, 2 wrong usage or config. Everything heavy is
imported inside a command, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from engine.errors import FlorilegiumError, UsageError

app = typer.Typer(
    name="florilegium",
    help="Build vision datasets: specialists say, filters judge, the engine moves and remembers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
"""The exit code after Ctrl-C, by the shell's convention."""
out = Console()
err = Console(stderr=True)

Directory = Annotated[str, typer.Argument(metavar="DIR", help="The folder of a dataset.")]


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.")],
    source: Annotated[str | None, typer.Option(help="Read the images from here instead.")] = None,
    output: Annotated[str | None, typer.Option(help="Write the dataset here instead.")] = None,
    runner: Annotated[str | None, typer.Option(help="`ray` or `local` (this process).")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Override a key, e.g. shard_size=64."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, print the plan, stop.")
    ] = False,
    retry_dead_letters: Annotated[
        bool, typer.Option("--retry-dead-letters", help="Try images that failed again.")
    ] = False,
) -> None:
    """Build a dataset, or bring it up to date: what is done is not done again."""
    from engine.config import load_config
    from engine.run import prepare
    from pipelines.build import build_dataset
    from pipelines.tables import plan_table, totals_table

    changes = {"source": source, "output": output}
    given = {name: value for name, value in changes.items() if value is not None}
    runners = [f"runner.kind={runner}"] if runner else []
    run = prepare(load_config(config, changes=given, overrides=[*(overrides or []), *runners]))
    if dry_run:
        out.print(plan_table(run))
        return
    try:
        manifest = build_dataset(run, retry=retry_dead_letters)
    except KeyboardInterrupt:
        err.print("stopped; nothing that is finished is lost: run the same command to resume")
        raise typer.Exit(INTERRUPTED) from None
    totals = manifest.totals
    out.print(totals_table(totals))
    lost = f"{totals.dead_letters} dead letters"
    out.print(f"{totals.inputs} images = {totals.samples} samples + {lost}", highlight=False)
    out.print(Text(f"dataset  {run.output.url}"), soft_wrap=True)
    out.print(Text(f"report   {run.output.url}/report.html"), soft_wrap=True)


@app.command()
def status(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how far a dataset is."""
    from engine.storage import Folder
    from pipelines.status import read_status
    from pipelines.tables import status_table

    found = read_status(Folder(directory))
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1, sort_keys=True) + "\n")
    else:
        out.print(status_table(found))


@app.command()
def verify(directory: Directory) -> None:
    """Check a finished dataset: digests, adjacency, counts, schema."""
    from engine.storage import Folder
    from pipelines.verify import verify_dataset

    problems = list(verify_dataset(Folder(directory)))
    for problem in problems:
        err.print(Text.assemble(("wrong ", "red"), problem), soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    out.print(Text(f"{directory}: every digest, count and field is right"))


@app.command()
def why(
    directory: Directory, key: Annotated[str, typer.Argument(help="The key of a sample.")]
) -> None:
    """Print everything that was said about an image, by whom, and what became of it."""
    from engine.storage import Folder
    from pipelines.why import explain

    for line in explain(Folder(directory), key):
        out.print(line, soft_wrap=True)


@app.command()
def report(directory: Directory) -> None:
    """Draw the report of a dataset again."""
    from engine.storage import Folder
    from pipelines.report import write_report
    from pipelines.status import read_status

    folder = Folder(directory)
    read_status(folder)  # refuses what is no dataset
    write_report(folder)
    out.print(Text(folder.path("report.html")), soft_wrap=True)


@app.command()
def stages() -> None:
    """List the installed stages: name, what they read and produce, what they need."""
    from pipelines.tables import stages_table

    out.print(stages_table())


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except FlorilegiumError as error:
        err.print(Text.assemble(("error ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
