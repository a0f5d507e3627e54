"""The report of the dataset, at a path where its numbers link to the images behind them.

The file may come from somebody else: no script runs in it but the one of this version's reports.
A report of another version is shown as it is on disk, without links.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import REPORT
from florilegium.pipelines.report.page import script_digest
from florilegium.pipelines.serve.answers import NotFound

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Report:
    """The route of the report of a run."""

    def __init__(self, run: Folder) -> None:
        self._run = run

    async def endpoint(self, request: Request) -> Response:
        """Answer with the report.

        Raises:
            NotFound: the dataset has none.
            StorageError: it cannot be read.
        """
        page = await run_in_threadpool(self._run.read, REPORT)
        if page is None:
            raise NotFound("the dataset has no report: make one with `florilegium report`")
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _POLICY.format(digest=script_digest()),
        }
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)
