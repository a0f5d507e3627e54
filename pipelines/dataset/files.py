"""The names of the files beside the shards of a dataset."""

from __future__ import annotations

from florilegium.engine.results.manifest import DEAD_LETTERS, RECIPE
from florilegium.engine.storage.folder import Folder

CARD = "README.md"
REPORT = "report.html"
STATISTICS = "statistics.json"
RUN = "run.yaml"
LINEAGE = "refine.json"
REFRESH = "refresh.json"
"""What the refresh that published the current version changed; the manifest does not name it, as
it depends on the version before."""
REFRESH_PAGE = "refresh.html"
HELD_BACK = "held_back.json"
"""The same of a version that was held back, while it waits."""
HELD_BACK_PAGE = "held_back.html"
SPENT = "spent.json"
"""What refreshes have spent since a version was published."""
UNTIL_PUBLISHED = frozenset((HELD_BACK, HELD_BACK_PAGE, SPENT))
"""What is deleted when a version is published."""


def has_next_version(output: Folder) -> bool:
    """Whether there may be files of a version that is not published: a build that makes it is under
    way or was interrupted, or a refresh held it back. The index is that of this version."""
    return output.exists(RECIPE) or output.exists(HELD_BACK)


def named_by_manifest(output: Folder) -> set[str]:
    """Return the files beside the shards whose digests the manifest of this dataset has."""
    lineage = [LINEAGE] if output.exists(LINEAGE) else []
    return {CARD, DEAD_LETTERS, REPORT, STATISTICS, *lineage}
