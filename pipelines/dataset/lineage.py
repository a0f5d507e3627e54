"""The results of each round, in `rounds/N/round.json`, and of all rounds, in `refine.json`.

    OUTPUT/                  the dataset of the promoted round, as any other dataset
      refine.json            the lineage: every round, promoted or not
      rounds/N/              the dataset of round N
        round.json           its entry, written last
        students/fold_N/     checkpoints of the round; fold_N_STUDENT of those fine-tuned further
        calibration/STAGE.json
        candidates/LEVEL/    the annotations of the voters before merging; in round 0 perhaps
                             with audit.jsonl, to be filled in

There are no times and no paths in the entries: the same source and config give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.publication import to_json
from florilegium.engine.storage.documents import damaged, read_json
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import LINEAGE, REPORT

ROUND = "round.json"
ROUNDS = "rounds"
CANDIDATES = "candidates"
STUDENTS = "students"

TRUTH = "truth"
AUDIT = "audit"
AGREEMENT = "agreement"
"""How quality was measured: by the known truth, an audit, or the agreement of the voters."""
_DECIMALS = 9
"""Digits of a gain; further ones are rounding errors, and an equal quality is no gain."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """A trained checkpoint: the fold that it was not trained on, its digest, steps and losses."""

    fold: int
    digest: str
    steps: int
    losses: Mapping[str, float]
    """The mean loss of the last steps, by task."""
    name: str = ""
    """The student of the config that alone has these weights, fine-tuned from those of the fold."""

    @property
    def folder(self) -> str:
        """The folder of its checkpoint, within that of the round."""
        return student_folder(self.fold, self.name)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of refinement.

    `parent` is the round whose labels the students were trained on, -1 for round 0, which has
    no students. `quality` maps a kind of label (`boxes`, `masks`, `ocr`, `phrases`, `captions`)
    to its quality in 0..1 by the method `measured_by`, or to `None` when it was not measured.
    Promotion depends on the mean gain of the kinds that both rounds measured. `merges` has for each
    merge stage its `rule` and under `tasks` the `TaskCalibration` of each task, none without an
    audit.
    """

    number: int
    parent: int
    recipe: str
    students: tuple[Student, ...] = ()
    merges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured_by: str
    quality: Mapping[str, float | None]
    audited: tuple[str, ...] = ()
    """Keys of the samples that were audited."""
    is_promoted: bool
    reason: str
    """Why it was promoted or not."""

    @property
    def mean_quality(self) -> float | None:
        """The mean over the kinds of labels that were measured, 0..1; `None` when none was."""
        measured = [value for value in self.quality.values() if value is not None]
        return sum(measured) / len(measured) if measured else None

    def to_json(self) -> bytes:
        """Return the content of `round.json`."""
        return to_json(self.entry(), indent=1)

    def entry(self) -> dict[str, Any]:
        """Return it as JSON values; the name of a student only where it has one."""
        students = [asdict(student) for student in self.students]
        named = [{key: one[key] for key in one if key != "name" or one[key]} for one in students]
        return asdict(self) | {"students": named}

    @classmethod
    def from_json(cls, data: bytes) -> Round:
        """Read an entry back."""
        return _ROUND.validate_json(data, strict=True)


_ROUND: TypeAdapter[Round] = TypeAdapter(Round)


def gain_of(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> float:
    """Return how much the mean quality gains.

    A kind of label that is lost counts as 0; one that either side did not measure is ignored.
    """
    pairs = (
        (before.get(kind, 0.0), after.get(kind, 0.0))
        for kind in sorted(before.keys() | after.keys())
    )
    gains = [now - then for then, now in pairs if then is not None and now is not None]
    return round(sum(gains) / len(gains), _DECIMALS) if gains else 0.0


def student_folder(fold: int, name: str = "") -> str:
    """Return the folder of a student's checkpoint, within that of its round."""
    return f"{STUDENTS}/fold_{fold}" + (f"_{name}" if name else "")


def round_folder(output: Folder, number: int) -> Folder:
    """Return the folder of a round within the output of a run."""
    return Folder(f"{output.url}/{ROUNDS}/{number}")


def round_numbers(output: Folder) -> list[int]:
    """Return the numbers of the rounds that were begun, sorted."""
    return sorted(int(name) for name in output.names(ROUNDS) if name.isdigit())


def datasets_of_round(output: Folder, number: int) -> Iterator[Folder]:
    """Yield the dataset of a round and those of its candidates, beside which an audit may lie."""
    folder = round_folder(output, number)
    yield folder
    for level in filter(str.isdigit, folder.names(CANDIDATES)):
        yield Folder(f"{folder.url}/{CANDIDATES}/{level}")


def read_lineage(output: Folder) -> list[Round]:
    """Return the rounds of a run in their order; none when it was never refined.

    Raises:
        StorageError: the file is damaged.
    """
    cure = "`florilegium refine` writes it again"
    document = read_json(output, LINEAGE, cure=cure)
    if document is None:
        return []
    try:
        return [Round.from_json(to_json(entry)) for entry in document["rounds"]]
    except (KeyError, TypeError, ValueError) as error:
        named = isinstance(error, KeyError | TypeError)
        reason = f"{type(error).__name__}: {error}" if named else error
        raise damaged(output, LINEAGE, reason, cure=cure) from error


def write_lineage(output: Folder, rounds: Sequence[Round]) -> None:
    """Publish `refine.json`, and delete a report of other rounds, which has to be drawn again."""
    data = to_json({"rounds": [one.entry() for one in rounds]}, indent=1)
    if output.read(LINEAGE) != data:
        output.remove(REPORT)
        output.publish(LINEAGE, data)


def round_dataset(output: Folder, number: int) -> Folder:
    """Return the dataset of a round.

    Raises:
        UsageError: the run has no such round.
    """
    known = [one.number for one in read_lineage(output)]
    if number not in known:
        rounds = f"it has rounds {known[0]} to {known[-1]}" if known else "it was never refined"
        raise UsageError(f"{output.url} has no round {number}: {rounds}")
    return round_folder(output, number)
