"""Pages about what is installed: stages, sources, merge rules, export formats, tasks."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from florilegium.engine.core.documented import attribute_docs
from florilegium.engine.core.tasks import TABLE
from florilegium.pipelines.reference.markdown import (
    block,
    code,
    heading,
    link,
    option_list,
    prose,
    table,
)
from florilegium.pipelines.reference.model_schema import joined
from florilegium.pipelines.reference.options import Change, Option
from florilegium.pipelines.reference.plugin import Kind, Plugin

_OPTIONS = "options"


def plugins_page(kind: Kind, *, title: str, intro: str, has_changes: bool = False) -> str:
    """Return the page of all plugins of a kind: a table, each with its options, shared options."""
    plugins = [kind.describe(name) for name in kind.names()]
    shared = _shared(plugins)
    rows = ((link(code(one.name), kind.what, one.name), prose(one.title)) for one in plugins)
    text = heading(1, title) + f"{intro}\n\n" + table((kind.what, "what it does"), rows)
    if has_changes:
        text += changes_section()
    text += "".join(_section(kind, one, shared) for one in plugins)
    for owner, options in shared.items():
        text += heading(2, f"Options of {code(owner.__name__)}", _OPTIONS, owner.__name__)
        text += f"{prose(joined(owner.__doc__ or ''))}\n\n{option_list(options)}"
    return text


def changes_section() -> str:
    """Return what a new value of a stage's option costs, by the word that stands beside it."""
    docs = attribute_docs(Change)
    rows = ((f"*{change}*", prose(joined(docs[change.name]))) for change in Change)
    head = heading(2, "What a new value of an option costs", "cost-of-a-change")
    return head + table(("change", "what it costs"), rows)


def _shared(plugins: Iterable[Plugin]) -> dict[type[BaseModel], tuple[Option, ...]]:
    """Return the options that come from a base of a plugin's config, by that base."""
    found: dict[type[BaseModel], dict[str, Option]] = {}
    for plugin in plugins:
        for option in plugin.options:
            if option.owner is not plugin.config:
                found.setdefault(option.owner, {}).setdefault(option.name, option)
    return {owner: tuple(options.values()) for owner, options in found.items()}


def _section(kind: Kind, plugin: Plugin, shared: Iterable[type[BaseModel]]) -> str:
    text = heading(2, code(plugin.name), kind.what, plugin.name)
    text += f"{prose(plugin.doc)}\n\n"
    facts = {"class": (code(plugin.path),), **plugin.facts}
    text += table(("", ""), ((name, prose(_fact(lines))) for name, lines in facts.items()))
    own = [option for option in plugin.options if option.owner is plugin.config]
    bases = dict.fromkeys(one.owner for one in plugin.options if one.owner is not plugin.config)
    if own:
        text += f"Options:\n\n{option_list(own)}"
    if bases:
        links = ", ".join(link(code(one.__name__), _OPTIONS, one.__name__) for one in bases)
        text += f"{'Further options' if own else 'Options'}: {links}.\n\n"
    return text + (block(plugin.stanza, "yaml") if plugin.stanza else "")


def _fact(lines: tuple[str, ...]) -> str:
    return "; ".join(lines) if any(" " in line for line in lines) else ", ".join(lines)


def tasks_page() -> str:
    """Return the page of the tasks."""
    rows = (
        (
            f"`{task.name}`",
            task.kind,
            ", ".join(map(code, task.needs))
            + (f", and {' or '.join(map(code, task.either))}" if task.either else ""),
            task.words or "none",
            code(task.florence2.marker) if task.florence2 else "",
            task.coco,
        )
        for task in TABLE.values()
    )
    columns = ("task", "kind", "an annotation has", "its words", "Florence-2", "COCO")
    intro = (
        "A task is one kind of annotation. `text` is about the whole image, `region` about a part "
        "of it, `phrase` about a span of a caption with its region (Florence-2 paper, section 4). "
        "The marker is that of Florence-2's prompt, where it knows the task; the last column is "
        "what `export --format coco` makes of it."
    )
    return heading(1, "Tasks") + f"{intro}\n\n" + table(columns, rows)
