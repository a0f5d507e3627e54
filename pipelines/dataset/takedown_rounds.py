"""What a takedown does in a refinement: rounds that it no longer has, models that were trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from florilegium.engine.results.takedowns import Checkpoint, read_receipts
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import LINEAGE
from florilegium.pipelines.dataset.lineage import ROUNDS, STUDENTS, read_lineage


def rounds_left(output: Folder) -> Iterator[str]:
    """Yield the folders of rounds that a refinement no longer has, as it ended sooner this time."""
    if output.exists(LINEAGE):
        numbers = {str(one.number) for one in read_lineage(output)}
        yield from (f"{ROUNDS}/{name}" for name in output.names(ROUNDS) if name not in numbers)


def clear_round(folder: Folder) -> None:
    """Delete what a round is made of, but for its checkpoints."""
    for name, entry in folder.entries().items():
        if name == STUDENTS:
            continue
        if entry.kind == "directory":
            Folder(f"{folder.url}/{name}").clear()
        else:
            folder.remove(name)


def checkpoints_of(output: Folder, root: Folder | None, *, was_there: bool) -> Iterator[Checkpoint]:
    """Yield the students that were trained on listed images: of a round whose dataset held them,
    those of the rounds after it; of the whole refinement, all."""
    if root is None:
        return
    lineage = read_lineage(root)
    if output.url == root.url:
        current = {student.digest for one in lineage for student in one.students}
        folders = {f"{ROUNDS}/{one.number}" for one in lineage}
        for number in output.names(ROUNDS):
            receipts = read_receipts(Folder(f"{root.url}/{ROUNDS}/{number}"))
            for one in receipts[-1].checkpoints if receipts else ():
                is_left = one.path.rpartition(f"/{STUDENTS}/")[0] not in folders
                yield replace(one, is_there=is_left or one.sha256 in current)
    elif was_there:
        for each in lineage:
            if output.url == f"{root.url}/{ROUNDS}/{each.parent}":
                for student in each.students:
                    path = f"{ROUNDS}/{each.number}/{student.folder}"
                    yield Checkpoint(path=path, sha256=student.digest, is_there=True)
