"""The plugins that are installed: whether each can be imported, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from time import perf_counter

from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.installed import entry_points
from florilegium.engine.core.stage import Stage
from florilegium.engine.core.task import Task
from florilegium.engine.core.tasks import GROUP as TASKS
from florilegium.engine.planning.registry import SLOW_IMPORT_S, SOURCES, STAGES, refuse_other_api
from florilegium.engine.sources.source import Source
from florilegium.engine.untrusted.traces import message_of
from florilegium.pipelines.doctor.finding import OK, PROBLEM, WARNING, Finding
from florilegium.pipelines.export.exporter import EXPORTERS, Exporter
from florilegium.pipelines.imports.importer import IMPORTERS, Importer
from florilegium.pipelines.merge.rules import MERGE_RULES, Rule

TOPIC = "plugins"
_OURS = "florilegium"
_BASES: dict[str, tuple[str, type]] = {
    STAGES: ("stage", Stage),
    SOURCES: ("source", Source),
    MERGE_RULES: ("merge rule", Rule),
    EXPORTERS: ("exporter", Exporter),
    IMPORTERS: ("importer", Importer),
}


def plugin_findings() -> Iterator[Finding]:
    """Yield a finding for each entry point of our groups; those of this distribution are one, where
    nothing is wrong with them."""
    count, took_s = 0, 0.0
    for group in (*_BASES, TASKS):
        for point in sorted(entry_points(group=group)):
            finding, seconds = _looked_at(group, point)
            if _package(point) == _OURS and finding.level == OK:
                count, took_s = count + 1, took_s + seconds
            else:
                yield finding
    text = f"{count} built in, imported in {took_s:.1f} s"
    yield Finding(topic=TOPIC, name=_OURS, level=OK, text=text)


def _looked_at(group: str, point: EntryPoint) -> tuple[Finding, float]:
    what, base = _BASES.get(group, ("task", Task))
    name, package = f"{what} {point.name}", _package(point)
    began = perf_counter()
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # a module may raise anything
        text = f"of {package}: {point.value} raises {type(error).__name__}: {message_of(error)}"
        return Finding(topic=TOPIC, name=name, level=PROBLEM, text=text, cure=_cure(point)), 0.0
    seconds = perf_counter() - began
    is_one = isinstance(found, Task) if base is Task else _is_subclass(found, base)
    if not is_one:
        text = f"of {package}: {point.value} is no {what}"
        return Finding(topic=TOPIC, name=name, level=PROBLEM, text=text, cure=_cure(point)), seconds
    try:
        if isinstance(found, type):
            refuse_other_api(found, f"of {package}: {point.value}")
    except UsageError as error:
        finding = Finding(topic=TOPIC, name=name, level=PROBLEM, text=str(error), cure=_cure(point))
        return finding, seconds
    text = f"of {package}: imported in {seconds:.1f} s"
    if seconds > SLOW_IMPORT_S:
        cure = "import what is heavy in its `load()`, not at the top of its module"
        return Finding(topic=TOPIC, name=name, level=WARNING, text=text, cure=cure), seconds
    return Finding(topic=TOPIC, name=name, level=OK, text=text), seconds


def _is_subclass(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def _cure(point: EntryPoint) -> str:
    package = _package(point)
    return f"mend it, install another version, or take it away: pip uninstall {package}"
