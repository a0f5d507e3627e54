"""The contract of exporters: a finished dataset becomes files, the same again, and stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import FlorilegiumError
from florilegium.engine.planning.config import validated
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.export.exporter import Exported, Exporter, selected_for
from florilegium.testing.checks import (
    Check,
    Checks,
    config_faults,
    doc_faults,
    name_of,
    naming_faults,
)
from florilegium.testing.dataset import small_dataset
from florilegium.testing.elsewhere import FailsElsewhere, called_elsewhere
from florilegium.testing.faults import ContractBroken


@dataclass(frozen=True, kw_only=True)
class ExporterReport:
    """What an exporter wrote of the kit's dataset of four photographs: the paths of its files, and
    its lines for people."""

    checks: tuple[str, ...]
    files: tuple[str, ...]
    summary: tuple[str, ...]
    warnings: tuple[str, ...]


class ExporterSubject:
    """An exporter that is checked, with a dataset in a folder that is deleted afterwards."""

    def __init__(
        self, exporter_class: type[Exporter[Any, Any]], options: Mapping[str, Any], folder: Path
    ) -> None:
        self.exporter_class = exporter_class
        self.options = dict(options)
        self.folder = folder

    @cached_property
    def dataset(self) -> Path:
        """A finished dataset."""
        return small_dataset(self.folder)

    def written(self, name: str, dataset: Path | None = None) -> tuple[Exported, Path]:
        """Export into a new folder of this name."""
        config = validated(self.exporter_class.Config, self.options, where="options")
        output = self.folder / name
        output.mkdir()
        exporter = self.exporter_class(config)
        selected = selected_for(exporter, Folder(str(dataset or self.dataset)))
        return exporter.write(selected, output), output

    @cached_property
    def first(self) -> tuple[Exported, Path]:
        """What the exporter wrote first."""
        return self.written("first")


def found_by_its_name(subject: ExporterSubject) -> Iterator[str]:
    """An entry point finds the class, which has a docstring."""
    yield from naming_faults(subject.exporter_class)
    yield from doc_faults(subject.exporter_class)


def options_are_sound(subject: ExporterSubject) -> Iterator[str]:
    """The config is frozen, documented, and refuses unknown keys."""
    yield from config_faults(subject.exporter_class.Config)


def writes_files(subject: ExporterSubject) -> Iterator[str]:
    """A finished dataset becomes files, and no bytes of the dataset change."""
    before = _digests(subject.dataset)
    try:
        exported, output = subject.first
    except FlorilegiumError as error:
        yield f"it cannot write a finished dataset: {error}"
        return
    result: object = exported
    if not isinstance(result, Exported):
        yield f"`write` returns {type(result).__name__}: return an Exported"
    if not _digests(output):
        yield "it writes no file"
    if _digests(subject.dataset) != before:
        yield "it changes files of the dataset: write into the output only"


def writes_the_same_again(subject: ExporterSubject) -> Iterator[str]:
    """The same dataset gives the same bytes."""
    _, again = subject.written("again")
    if name := _differs(subject.first[1], again):
        yield f"{name} differs when it is written again: leave out times, and sort"


def writes_the_same_elsewhere(subject: ExporterSubject) -> Iterator[str]:
    """Another process writes the same bytes."""
    arguments = subject.exporter_class, subject.options, subject.folder, subject.dataset
    try:
        again = called_elsewhere(_written, *arguments)
    except FailsElsewhere as error:
        yield f"it cannot write in another process: {error}"
        return
    if name := _differs(subject.first[1], again):
        yield f"{name} differs when another process writes it: sort what comes of a set"


def _written(
    exporter_class: type[Exporter[Any, Any]],
    options: Mapping[str, Any],
    folder: Path,
    dataset: Path,
) -> Path:
    return ExporterSubject(exporter_class, options, folder).written("elsewhere", dataset)[1]


def _differs(one: Path, other: Path) -> str:
    """Return the first file that differs in two folders, empty where none does."""
    before, after = _digests(one), _digests(other)
    names = sorted(before.keys() | after.keys())
    return next((name for name in names if before.get(name) != after.get(name)), "")


def tells_what_it_did(subject: ExporterSubject) -> Iterator[str]:
    """Summary and warnings are lines of text."""
    exported, _ = subject.first
    for name in ("summary", "warnings"):
        lines: list[object] = list(getattr(exported, name)())
        if not all(isinstance(line, str) and "\n" not in line for line in lines):
            yield f"`{name}` yields something that is no line of text: {lines!r}"
        if name == "summary" and not lines:
            yield "its summary is empty: yield a line that counts what was written"


ExporterCheck = Check[ExporterSubject]
CHECKS: tuple[ExporterCheck, ...] = (
    found_by_its_name,
    options_are_sound,
    writes_files,
    writes_the_same_again,
    tells_what_it_did,
    writes_the_same_elsewhere,
)
REQUIRED: Mapping[ExporterCheck, tuple[ExporterCheck, ...]] = {
    **dict.fromkeys((writes_the_same_again, tells_what_it_did), (writes_files,)),
    writes_the_same_elsewhere: CHECKS[:-1],
}


def check_exporter(
    exporter_class: type[Exporter[Any, Any]], options: Mapping[str, Any] | None = None
) -> ExporterReport:
    """Check that an exporter keeps its contract, with a small dataset that has every task.

    Args:
        exporter_class: a subclass of `Exporter`.
        options: of its `Config`, as in a config file.

    Raises:
        ContractBroken: an AssertionError with one sentence for each fault, and its cure.
    """
    found: object = exporter_class
    if not (isinstance(found, type) and issubclass(found, Exporter)):
        fault = "it is no exporter: derive a class from Exporter"
        raise ContractBroken(repr(exporter_class), [fault])
    with tempfile.TemporaryDirectory(prefix="florilegium-") as folder:
        subject = ExporterSubject(exporter_class, options or {}, Path(folder))
        Checks(subject, CHECKS, REQUIRED).raise_faults(name_of(exporter_class))
        exported, output = subject.first
        return ExporterReport(
            checks=tuple(check.__name__ for check in CHECKS),
            files=tuple(_digests(output)),
            summary=tuple(exported.summary()),
            warnings=tuple(exported.warnings()),
        )


def _digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files below a folder, by relative path, sorted."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
