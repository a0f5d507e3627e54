"""Commands that inspect, verify, sign and clean a finished dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from florilegium.engine.core.counted import counted
from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import (
    Directory,
    err,
    out,
)
from florilegium.pipelines.terminal.exit_codes import ExitCode


def status(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watches: Annotated[
        bool, typer.Option("--watch", help="Show the running build until it ends; 0 if it is done.")
    ] = False,
) -> None:
    """Show how much of a dataset is done."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.commands.tables import print_table, status_table
    from florilegium.pipelines.dataset.lineage import read_lineage
    from florilegium.pipelines.dataset.status import read_status
    from florilegium.pipelines.dataset.watching import watch
    from florilegium.pipelines.refine.table import round_line

    folder = Folder(directory)
    found = watch(folder, err) if watches else read_status(folder)
    rounds = read_lineage(folder)
    if as_json:
        out.say(json_text(found.to_json()))
        return
    print_table(out, status_table(found))
    for one in rounds:
        out.say(round_line(one))


def verify(
    directory: Directory,
    public_key: Annotated[
        Path | None, typer.Option(help="A public Ed25519 key (PEM) to check the signature with.")
    ] = None,
) -> None:
    """Check every file of a finished dataset: digests, counts, schema, provenance."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.verify.verify import verify_dataset

    checked: set[str] = set()
    problems = list(verify_dataset(Folder(directory), checked=checked))
    if public_key is not None:
        from florilegium.pipelines.verify.signature import check_signature

        problems += check_signature(Folder(directory), public_key)
    for problem in problems:
        err.say(problem, label="wrong", style="red")
    if problems:
        raise typer.Exit(ExitCode.FAILED)
    files = counted(len(checked), "file")
    out.say(f"{directory}: {files} read, every digest, count and field is right")


def sign(
    directory: Directory,
    key: Annotated[Path, typer.Option(help="A private Ed25519 key (PEM, no password).")],
) -> None:
    """Verify a finished dataset and sign its manifest; `verify --public-key` checks that."""
    from florilegium.engine.results.manifest import SIGNATURE
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.verify.signature import sign as sign_manifest

    folder = Folder(directory)
    sign_manifest(folder, key)
    out.say(folder.path(SIGNATURE))


def clean(
    directory: Directory,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how much would be deleted, delete nothing.")
    ] = False,
) -> None:
    """Delete the layers that the dataset no longer needs, and show how much that was."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.dataset.clean import clean as clean_layers

    cleaned = clean_layers(Folder(directory), is_dry=dry_run)
    what = f"{counted(cleaned.files, 'file')} of {counted(cleaned.stages, 'stage')}"
    kept = counted(cleaned.kept, "file is", "files are")
    verb = "would delete" if dry_run else "deleted"
    line = f"{verb} {what}, {cleaned.bytes / 1e6:.1f} MB; {kept} needed"
    out.say(line)


def why(
    directory: Directory,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="Its key, its path or the end of it, or 6 digits of its SHA-256."
        ),
    ],
) -> None:
    """Print all annotations of an image: which stage made them, which filters judged them."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.dataset.why import explain

    for line in explain(Folder(directory), image):
        out.say(line)


def report(directory: Directory) -> None:
    """Draw the report of a dataset again."""
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.build import draw_again
    from florilegium.pipelines.dataset.files import REPORT

    folder = Folder(directory)
    draw_again(folder)
    out.say(folder.path(REPORT))
