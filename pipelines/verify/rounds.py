"""Checking the rounds of a refinement: datasets, students and calibrations, by the lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import FlorilegiumError
from florilegium.engine.results.manifest import MANIFEST, read_manifest
from florilegium.engine.storage.documents import in_one_line
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import LINEAGE
from florilegium.pipelines.dataset.lineage import (
    CANDIDATES,
    ROUND,
    ROUNDS,
    STUDENTS,
    Round,
    read_lineage,
)
from florilegium.pipelines.dataset.resolved import read_resolved
from florilegium.pipelines.merge.calibration import read_calibration
from florilegium.pipelines.training.files import digest_of_file
from florilegium.pipelines.training.student import WEIGHTS

CALIBRATION = "calibration"
REFINED = {
    **dict.fromkeys((LINEAGE, ROUND), "file"),
    **dict.fromkeys((ROUNDS, CANDIDATES, CALIBRATION, STUDENTS), "directory"),
}
"""What a refinement adds to the folder of a dataset."""
Verify = Callable[[Folder, set[str]], Iterator[str]]


def check_rounds(output: Folder, verify: Verify, checked: set[str]) -> Iterator[str]:
    """Check every round of a refined dataset; `verify` checks the datasets of the rounds."""
    try:
        rounds = read_lineage(output)
    except FlorilegiumError as error:
        yield str(error)
        return
    if output.exists(LINEAGE):
        checked.add(LINEAGE)
    numbers = {str(one.number) for one in rounds}
    for name in sorted(output.entries(ROUNDS).keys() - numbers):
        yield f"{ROUNDS}/{name} is no round of {LINEAGE}"
    for one in rounds:
        yield from _check_round(output, one, verify, checked)
    for level in output.names(CANDIDATES):
        if level.isdigit():
            yield from _inner(output, f"{CANDIDATES}/{level}", verify, checked)


def _inner(output: Folder, path: str, verify: Verify, checked: set[str]) -> Iterator[str]:
    """Check a dataset within a dataset."""
    inner: set[str] = set()
    for problem in verify(Folder(f"{output.url}/{path}"), inner):
        yield f"{path}: {problem}"
    checked.update(f"{path}/{name}" for name in inner)


def _check_round(output: Folder, one: Round, verify: Verify, checked: set[str]) -> Iterator[str]:
    path = f"{ROUNDS}/{one.number}"
    yield from _inner(output, path, verify, checked)
    if output.read(f"{path}/{ROUND}") != one.to_json():
        yield f"{path}/{ROUND} differs from the round in {LINEAGE}"
    checked.add(f"{path}/{ROUND}")
    for student in one.students:
        weights = f"{path}/{student.folder}/{WEIGHTS}"
        checked.add(weights)
        if not output.exists(weights):
            yield f"{weights} is missing"
        elif digest_of_file(Path(output.path(weights))) != student.digest:
            yield f"{weights}: its digest differs from {LINEAGE}"
    yield from _check_calibrations(Folder(f"{output.url}/{path}"), path, checked)


def _check_calibrations(folder: Folder, path: str, checked: set[str]) -> Iterator[str]:
    """Compare each calibration of a round with the revision of the stage that used it."""
    try:
        stages = (read_manifest(folder) or {"stages": {}})["stages"].values()
        wanted = set(_calibrations(read_resolved(folder), path))
    except FlorilegiumError:
        return  # reported already
    revisions = {stage["name"]: stage.get("revision") for stage in stages}
    for name in sorted(wanted | set(folder.names(CALIBRATION))):
        file = f"{CALIBRATION}/{name}"
        checked.add(f"{path}/{file}")
        try:
            calibration = read_calibration(folder.path(file))
        except FlorilegiumError as error:
            yield in_one_line(error)
            continue
        if calibration.digest != revisions.get(name.removesuffix(".json")):
            yield f"{path}/{file} is not the calibration in {path}/{MANIFEST}"
        elif folder.read(file) != calibration.to_json().encode():
            yield f"{path}/{file} was changed after it was written"


def _calibrations(config: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the names of the calibrations in the round itself that its stages use."""
    stages = config.get("specialists")
    for name, options in stages.items() if isinstance(stages, dict) else ():
        used = options.get("calibration") if isinstance(options, dict) else ""
        if str(used).endswith(f"{path}/{CALIBRATION}/{name}.json"):
            yield f"{name}.json"
