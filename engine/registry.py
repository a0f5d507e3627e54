"""Stages by name.

Built-in stages and those of other packages are found the same way: by the entry point group
`florilegium.stages`, or as `package.module:Class`. Only the stage that is asked for is imported.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from engine.errors import MissingPackage, PlanError, nearest
from engine.stage import Stage

GROUP = "florilegium.stages"


def stage_names() -> list[str]:
    """Return the names of all installed stages, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_stage(use: str) -> type[Stage[Any]]:
    """Return the stage class of a registered name or of `package.module:Class`.

    Raises:
        PlanError: there is no such stage, or the object is not a stage.
    """
    if ":" in use:
        point = EntryPoint(name=use, value=use, group=GROUP)
    else:
        points = {point.name: point for point in entry_points(group=GROUP)}
        if use not in points:
            raise PlanError(f"unknown stage {use!r}, {nearest(use, points)}")
        point = points[use]
    try:
        stage_class = point.load()
    except (ImportError, AttributeError) as error:
        raise PlanError(
            f"stage {use!r} cannot be imported from {point.value!r}: {error}"
        ) from error
    if not (isinstance(stage_class, type) and issubclass(stage_class, Stage)):
        raise PlanError(f"{point.value!r} is not a stage: subclass Specialist or Filter")
    return stage_class


def require_packages(name: str, stage_class: type[Stage[Any]]) -> None:
    """Check that the packages a stage needs are installed.

    Raises:
        MissingPackage: with the pip line that brings them.
    """
    missing = [package for package in stage_class.needs if find_spec(package) is None]
    if missing:
        wanted = f"'florilegium[{stage_class.extra}]'" if stage_class.extra else " ".join(missing)
        raise MissingPackage(
            f"stage {name!r} needs {', '.join(missing)}, not installed: pip install {wanted}"
        )
