"""Stages, kinds of sources and other plugins by name.

Those that are built in and those of other packages are found the same way: by an entry point of
a group such as `florilegium.stages`. A config may name a stage or a source that is not installed
as `package.module:Class`. Only what is asked for is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from time import monotonic
from typing import Any, TypeVar

from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.errors import (
    ConfigError,
    MissingPackage,
    PlanError,
    UsageError,
    nearest,
)
from florilegium.engine.core.installed import entry_points
from florilegium.engine.core.stage import Stage
from florilegium.engine.sources.source import Source
from florilegium.engine.untrusted.escaped import cut
from florilegium.engine.untrusted.traces import plugin_trace, unforeseen

STAGES = "florilegium.stages"
SOURCES = "florilegium.sources"

_OWN_FOLDER = (
    "does it lie in a folder of yours? Name that: `--plugin-path .`, or `plugin_path: .` in the "
    "config"
)

SLOW_IMPORT_S = 5.0
"""Seconds from which on the import of a plugin is reported."""
_log = logging.getLogger(__name__)

PluginT = TypeVar("PluginT")


def is_module(use: str) -> bool:
    """Whether a name means a class in a module, `package.module:Class`, not an entry point."""
    return ":" in use


def stage_names() -> list[str]:
    """Return the names of all installed stages, sorted."""
    return installed_names(STAGES)


def source_names() -> list[str]:
    """Return the names of all installed kinds of sources, sorted."""
    return installed_names(SOURCES)


def installed_names(group: str) -> list[str]:
    """Return the names of all entry points of a group, sorted."""
    return sorted(_points(group))


def find_stage(use: str) -> type[Stage[Any]]:
    """Return the stage class of a registered name or of `package.module:Class`.

    Raises:
        PlanError: there is no such stage, or the object is not a stage.
    """
    return find_plugin(STAGES, "stage", use, Stage, PlanError)  # type: ignore[type-abstract]


def find_source(kind: str) -> type[Source[Any]]:
    """Return the source class of a registered name or of `package.module:Class`.

    Raises:
        ConfigError: there is no such kind of source, or the object is not a source.
    """
    return find_plugin(SOURCES, "kind of source", kind, Source, ConfigError)  # type: ignore[type-abstract]


def require_packages(name: str, stage_class: type[Stage[Any]]) -> None:
    """Check that the packages a stage needs are installed.

    Raises:
        MissingPackage: with the pip line that brings them.
    """
    require(f"stage {name!r}", stage_class.needs, extra=stage_class.extra)


def absent_packages(name: str, stage: Stage[Any]) -> list[MissingPackage]:
    """Return what is not installed of that which a stage will import, with its options."""
    absent = []
    for check in (partial(require_packages, name, type(stage)), stage.require):
        try:
            check()
        except MissingPackage as error:
            absent.append(error)
    return absent


def require(what: str, packages: Sequence[str], *, extra: str = "") -> None:
    """Check that packages are installed; `extra` is the one of this distribution that brings them.

    Raises:
        MissingPackage: with the pip line that brings them.
    """
    missing = [package for package in packages if not _is_installed(package)]
    if missing:
        install = f"florilegium[{extra}]" if extra else " ".join(missing)
        quoted = f"'{install}'" if extra else install
        raise MissingPackage(
            f"{what} needs {', '.join(missing)}, not installed: pip install {quoted}",
            install=install,
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def find_installed(
    group: str,
    what: str,
    name: str,
    base: type[PluginT],
    wrong: type[UsageError] = ConfigError,
) -> type[PluginT]:
    """Return the class that an entry point of a group names; `what` it is stands in errors.

    Raises:
        UsageError: of the type `wrong`: there is no such entry point, its module cannot be
            imported, or the object does not derive from `base`.
    """
    points = _points(group)
    if name not in points:
        raise wrong(f"unknown {what} {cut(name)}, {nearest(name, points)}")
    return _loaded(points[name], what, base, wrong)


def find_plugin(
    group: str, what: str, use: str, base: type[PluginT], wrong: type[UsageError]
) -> type[PluginT]:
    """Return the class of an entry point or of `package.module:Class`; see `find_installed`."""
    if is_module(use):
        return _loaded(EntryPoint(name=use, value=use, group=group), what, base, wrong)
    return find_installed(group, what, use, base, wrong)


def _loaded(
    point: EntryPoint, what: str, base: type[PluginT], wrong: type[UsageError]
) -> type[PluginT]:
    start = monotonic()
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # a module may raise anything
        place = "" if point.name == point.value else f" from {cut(point.value)}"
        raise wrong(
            f"{what} {cut(point.name)} cannot be imported{place}: {_why(error, point)}"
        ) from error
    if (seconds := monotonic() - start) > SLOW_IMPORT_S:
        _log.warning(
            "importing %s took %.0f s, which every worker and every command that looks at it waits "
            "for: import heavy packages in `load`",
            point.module,
            seconds,
        )
    if not (isinstance(found, type) and issubclass(found, base)):
        raise wrong(f"{cut(point.value)} is not a {what}: subclass {_bases(base)}")
    refuse_other_api(found, f"{what} {cut(point.name)} ({cut(point.value)})", wrong)
    return found


def _why(error: BaseException, point: EntryPoint) -> str:
    """Return why a plugin cannot be imported, with the lines of its own code that ran."""
    if not isinstance(error, ImportError):
        return unforeseen(error)
    if trace := plugin_trace(error):
        return f"{error}\n{trace}"
    is_absent = isinstance(error, ModuleNotFoundError) and is_module(point.name)
    return f"{error}; {_OWN_FOLDER}" if is_absent else str(error)


def refuse_other_api(plugin: type, what: str, wrong: type[UsageError] = ConfigError) -> None:
    """Refuse a plugin that was written for another version of the plugin API.

    Raises:
        UsageError: of the type `wrong`.
    """
    version = getattr(plugin, "api_version", API_VERSION)
    if version == API_VERSION:
        return
    is_newer = isinstance(version, int) and version > API_VERSION
    cure = "install a newer florilegium" if is_newer else "install a newer version of the plugin"
    raise wrong(
        f"{what} is written for version {cut(version)} of the plugin API, this florilegium has "
        f"version {API_VERSION}: {cure}"
    )


def _bases(base: type) -> str:
    """Name what a plugin derives from: the class, or its children where it is only their root."""
    return "Specialist, Filter or SampleFilter" if issubclass(base, Stage) else base.__name__
