"""The page about a refresh: what a version changed of the one before, which limits it exceeds.

It is a page of its own, beside the report: the report is the same however often a dataset was
refreshed on the way, and the manifest has its digest.
"""

from __future__ import annotations

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.refreshed import Refreshed
from florilegium.pipelines.report.page import rendered, resource

_MAX_DRIFTS = 40


def write_refresh_page(output: Folder, record: Refreshed, name: str) -> None:
    """Publish the page under a name.

    Raises:
        StorageError: it cannot be written.
    """
    drifts = sorted(record.drift.items(), key=lambda item: (-(item[1].version or 0.0), item[0]))
    page = rendered(
        "refresh.html.j2",
        record=record,
        drifts=drifts[:_MAX_DRIFTS],
        more_drifts=len(drifts[_MAX_DRIFTS:]),
        reasons=sorted({*record.dead_letters["before"], *record.dead_letters["after"]}),
        stages=sorted({*record.spent.asked, *record.spent.requests}),
        style=resource("style.css"),
    )
    output.publish(name, page)
