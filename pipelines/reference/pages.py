"""The reference of the documentation, written when it is built: it cannot differ from the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from florilegium.pipelines.reference.api_page import api_page
from florilegium.pipelines.reference.cli_page import cli_page
from florilegium.pipelines.reference.config_page import config_page
from florilegium.pipelines.reference.markdown import heading
from florilegium.pipelines.reference.output_page import (
    exit_codes_page,
    metrics_page,
    output_page,
)
from florilegium.pipelines.reference.plugin_pages import plugins_page, tasks_page
from florilegium.pipelines.reference.plugins import (
    EXPORT_FORMATS,
    IMPORT_FORMATS,
    RULES,
    SOURCES,
    STAGES,
)


def stages_page() -> str:
    """Return the page of all stages."""
    intro = (
        "A specialist predicts annotations, a filter judges them. `florilegium stages NAME` prints "
        "the same of one stage, also of a plugin. Every stage has the options of `StageConfig`; "
        "what stands at the stage itself counts before what stands in a shared list."
    )
    return plugins_page(STAGES, title="Stages", intro=intro, has_changes=True)


def sources_page() -> str:
    """Return the page of all kinds of sources."""
    intro = (
        "A source lists images and reads them, with first labels. Without `kind`, the URL and the "
        "names that lie there tell the kind."
    )
    return plugins_page(SOURCES, title="Sources", intro=intro)


def rules_page() -> str:
    """Return the page of all merge rules."""
    intro = "A rule decides which annotations the stage `merge` makes of those of its voters."
    return plugins_page(RULES, title="Merge rules", intro=intro)


def exporters_page() -> str:
    """Return the page of all export formats."""
    intro = (
        "`florilegium export DIR --format NAME --output FOLDER` writes a finished dataset for "
        "other programs. Options stand in a YAML file (`--config`) or in `--set`."
    )
    return plugins_page(EXPORT_FORMATS, title="Export formats", intro=intro)


def importers_page() -> str:
    """Return the page of all import formats."""
    intro = (
        "`florilegium import DIR FILE --format NAME` takes over what people corrected in other "
        "programs."
    )
    return plugins_page(IMPORT_FORMATS, title="Import formats", intro=intro)


PAGES: Mapping[str, Callable[[], str]] = {
    "cli": cli_page,
    "config": config_page,
    "stages": stages_page,
    "sources": sources_page,
    "merge-rules": rules_page,
    "exporters": exporters_page,
    "importers": importers_page,
    "tasks": tasks_page,
    "output": output_page,
    "exit-codes": exit_codes_page,
    "metrics": metrics_page,
    "api": api_page,
}
"""What makes each page, by the name of its file, in the order of the table of contents."""


def write_reference(folder: Path) -> None:
    """Write all pages and `index.md`, a table of contents, as Markdown (MyST) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / f"{name}.md").write_text(make().rstrip() + "\n", encoding="utf-8")
    contents = "\n".join(PAGES)
    index = f"{heading(1, 'Reference')}These pages are made from the code.\n\n"
    text = f"{index}```{{toctree}}\n{contents}\n```\n"
    (folder / "index.md").write_text(text, encoding="utf-8")
