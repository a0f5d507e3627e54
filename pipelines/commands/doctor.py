"""The command that looks at this machine: what a build needs, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import SourceOption, out
from florilegium.pipelines.commands.shipped import config_file

_QUICKSTART = "quickstart"


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            parser=config_file,
            metavar="CONFIG",
            help="Check what this config needs; by default `quickstart`.",
        ),
    ] = None,
    source: SourceOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the hub for sizes, and clusters for an answer.")
    ] = False,
    start_ray: Annotated[
        bool, typer.Option("--start-ray", help="Start a small Ray and stop it (seconds).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at this machine: packages, GPUs, memory, Ray, models, free space, each with its cure."""
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.commands.shipped import shipped_path
    from florilegium.pipelines.commands.tables import print_table
    from florilegium.pipelines.doctor.diagnosis import diagnose
    from florilegium.pipelines.doctor.table import conclusion, to_json, topic_tables

    name = str(config or _QUICKSTART)
    loaded = load(
        config or shipped_path(_QUICKSTART), overrides=None, no_plugins=False, source=source
    )
    documents = {name: loaded.document} if config else _shipped()
    findings = list(
        diagnose(
            name,
            loaded.run,
            documents,
            is_wanted=config is not None,
            is_online=online,
            is_ray_started=start_ray,
        )
    )
    report = to_json(findings)
    if as_json:
        out.say(json_text(report))
    else:
        for table in topic_tables(findings):
            print_table(out, table)
            out.say("")
        out.say(conclusion(findings, name))
    if not report["is_ready"]:
        raise typer.Exit(1)


def _shipped() -> dict[str, dict[str, Any]]:
    """Return the shipped configs of datasets by name."""
    from florilegium.engine.planning.config import load_document
    from florilegium.pipelines.commands.shipped import shipped_names, shipped_path

    documents = {name: load_document(shipped_path(name)) for name in shipped_names()}
    return {name: one for name, one in documents.items() if "specialists" in one}
