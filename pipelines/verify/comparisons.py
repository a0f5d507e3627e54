"""Checking the comparisons of a dataset: what its sample filters found that compare the run.

The name of a file follows from the samples and the verdicts of all shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from florilegium.engine.results.comparison import COMPARED
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.stored_comparison import DAMAGE
from florilegium.engine.storage.documents import in_one_line
from florilegium.engine.storage.folder import Folder, is_left_over
from florilegium.engine.storage.parquet import check_seal

_FILE = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{16}\.parquet")


def check_comparisons(
    output: Folder, manifest: Manifest, checked: set[str], *, has_next: bool
) -> Iterator[str]:
    """Yield comparisons that are missing, unknown or damaged; those that are read are `checked`.

    With `has_next`, there may be those of a version that is not published.
    """
    wanted = set(manifest.comparisons)
    there = {f"{COMPARED}/{name}" for name in output.names(COMPARED)}
    for path in sorted(wanted - there):
        yield f"{path} is missing, or is not what its shards were made by: run the build again"
    for path in sorted(there - wanted):
        name = path.rpartition("/")[2]
        if not (has_next and (_FILE.fullmatch(name) or is_left_over(name))):
            yield f"{path} is not that of the shards in the manifest"
    for path in sorted(wanted & there):
        checked.add(path)
        try:
            with output.opened(path) as file:
                check_seal(file)
        except DAMAGE as error:
            yield f"{path}: {in_one_line(error)}"
