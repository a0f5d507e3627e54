"""The names of the files beside the shards of a dataset."""

from __future__ import annotations

from engine.results.manifest import DEAD_LETTERS
from engine.storage.folder import Folder

CARD = "README.md"
REPORT = "report.html"
STATISTICS = "statistics.json"
RUN = "run.yaml"
LINEAGE = "refine.json"


def named_by_manifest(output: Folder) -> set[str]:
    """Return the files beside the shards whose digests the manifest of this dataset has."""
    lineage = [LINEAGE] if output.exists(LINEAGE) else []
    return {CARD, DEAD_LETTERS, REPORT, STATISTICS, *lineage}
