"""Commands that show what is installed, and what may stand in a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import PluginPath, out

if TYPE_CHECKING:
    from florilegium.pipelines.reference.plugin import Kind

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Describe this one, with all its options.")
]
NameOrModule = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Describe this one, with all its options; or a class, as `package.module:Class`, "
        "that is not installed.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stages(
    name: NameOrModule = None, as_json: Json = False, plugin_path: PluginPath = None
) -> None:
    """List the installed stages, or describe one: tasks, packages, options, a piece of config."""
    from florilegium.engine.planning.plugins import search_for_plugins
    from florilegium.pipelines.reference.plugins import STAGES
    from florilegium.pipelines.reference.stage_list import stage_lines

    search_for_plugins(plugin_path or [])
    if name is None and not as_json:
        for line in stage_lines():
            out.say(line)
        return
    _show(STAGES, name, as_json=as_json)


def sources(
    name: NameOrModule = None, as_json: Json = False, plugin_path: PluginPath = None
) -> None:
    """List the installed kinds of sources, or describe one."""
    from florilegium.engine.planning.plugins import search_for_plugins
    from florilegium.pipelines.reference.plugins import SOURCES

    search_for_plugins(plugin_path or [])
    _show(SOURCES, name, as_json=as_json)


def rules(name: Name = None, as_json: Json = False) -> None:
    """List the installed merge rules, or describe one."""
    from florilegium.pipelines.reference.plugins import RULES

    _show(RULES, name, as_json=as_json)


def exporters(name: Name = None, as_json: Json = False) -> None:
    """List the installed formats of `export`, or describe one."""
    from florilegium.pipelines.reference.plugins import EXPORT_FORMATS

    _show(EXPORT_FORMATS, name, as_json=as_json)


def importers(name: Name = None, as_json: Json = False) -> None:
    """List the installed formats of `import`, or describe one."""
    from florilegium.pipelines.reference.plugins import IMPORT_FORMATS

    _show(IMPORT_FORMATS, name, as_json=as_json)


def _show(kind: Kind, name: str | None, *, as_json: bool) -> None:
    """Print one plugin of a kind, or all."""
    from florilegium.pipelines.commands.tables import plugins_table, print_table
    from florilegium.pipelines.reference.text import lines_of

    if name is not None:
        plugin = kind.describe(name)
        lines = [json_text(plugin.to_json())] if as_json else lines_of(plugin)
        for line in lines:
            out.say(line)
        return
    found = kind.all()
    if as_json:
        out.say(json_text([plugin.to_json() for plugin in found]))
    else:
        print_table(out, plugins_table(kind.what, found))


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="`run`, `train` or a format of `export`.")
    ] = "run",
) -> None:
    """Print the JSON schema of a config, by which editors complete and check it."""
    from florilegium.pipelines.reference.config_schema import config_schema

    out.say(json_text(config_schema(kind)))
