"""Corrections for the stages of people: one box is confirmed, another one added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from florilegium.engine.core.sample import Sample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.store import add_corrections
from tests.pipelines.corrections.said import SHA256, said, seen

CONFIRMED, ADDED = seen("a"), seen("b", 20, 20, 30, 30)


def options(folder: Path) -> dict[str, Any]:
    """Return options with the folder of the corrections."""
    said_so = [said("confirmed", CONFIRMED), said("added", None, ADDED, minute=1)]
    add_corrections(Folder(str(folder)), said_so)
    return {"corrections": f"{folder}/corrections"}


def given(samples: list[Sample]) -> list[Sample]:
    """Return samples of which the first is the image that the corrections are about."""
    first, *others = samples
    annotations = (*first.annotations, CONFIRMED)
    return [replace(first, sha256=SHA256, annotations=annotations), *others]
