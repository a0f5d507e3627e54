"""The kinds of plugins that have a contract, each with its checks, for the plugin of pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import FlorilegiumError, PlanError
from florilegium.engine.core.stage import Stage
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.registry import SOURCES, STAGES, find_plugin
from florilegium.engine.sources.source import Source
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.export.exporter import EXPORTERS, Exporter
from florilegium.testing import exporter, source
from florilegium.testing.checks import Checks
from florilegium.testing.stage import stage_checks
from florilegium.testing.subject import Subject

HOOK = "pytest_florilegium_options"
Make = Callable[[Any, Mapping[str, Any] | None, Path], Checks[Any]]
"""Returns the checks of a class with options; it may write into the folder."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A kind of plugins: the group of its entry points, its base class and its checks."""

    what: str
    group: str
    base: type
    checks: Make


def _stage_checks(
    plugin: type[Stage[Any]], options: Mapping[str, Any] | None, folder: Path
) -> Checks[Subject]:
    return stage_checks(Subject(plugin, options=options))


def _source_checks(
    plugin: type[Source[Any]], options: Mapping[str, Any] | None, folder: Path
) -> Checks[source.SourceSubject]:
    """Return the checks of a source, whose options name what it reads.

    Raises:
        PlanError: there are none, or the source cannot read what they name.
    """
    try:
        config = validated(plugin.Config, options or {}, where="its options")
        _list_first(source.SourceSubject(plugin, config))
    except FlorilegiumError as error:
        raise PlanError(
            f"the source has no config that it can read: {error}\n"
            f"return one from the hook {HOOK}(name) in conftest.py, such as "
            f'{{"url": "tests/images"}}'
        ) from error
    return Checks(source.SourceSubject(plugin, config), source.CHECKS, source.REQUIRED)


def _list_first(subject: source.SourceSubject) -> None:
    """List one item; a fault of the source's code is left to the checks.

    Raises:
        FlorilegiumError: there is nothing to read.
    """
    try:
        next(iter(subject.new().items()), None)
    except FlorilegiumError:
        raise
    except Exception:
        return


def _exporter_checks(
    plugin: type[Exporter[Any, Any]], options: Mapping[str, Any] | None, folder: Path
) -> Checks[exporter.ExporterSubject]:
    subject = exporter.ExporterSubject(plugin, options or {}, folder)
    return Checks(subject, exporter.CHECKS, exporter.REQUIRED)


CONTRACTS = (
    Contract(what="stage", group=STAGES, base=Stage, checks=_stage_checks),
    Contract(what="source", group=SOURCES, base=Source, checks=_source_checks),
    Contract(what="exporter", group=EXPORTERS, base=Exporter, checks=_exporter_checks),
)


def contract_of(use: str) -> Contract:
    """Return the contract of `package.module:Class`.

    Raises:
        PlanError: the class cannot be imported, or is no such plugin.
    """
    plugin = find_plugin(STAGES, "plugin", use, object, PlanError)
    for contract in CONTRACTS:
        if issubclass(plugin, contract.base):
            return contract
    raise PlanError(
        f"{cut(use)} has no contract: derive it from Specialist, Filter, Source or Exporter"
    )


def checks_of(
    contract: Contract, use: str, options: Mapping[str, Any] | None, folder: Path
) -> Checks[Any]:
    """Return the checks of a plugin, `package.module:Class`.

    Raises:
        FlorilegiumError: it cannot be imported, is of another kind, or a source with no config.
    """
    plugin: type[Any] = find_plugin(contract.group, contract.what, use, contract.base, PlanError)
    return contract.checks(plugin, options, folder)
