"""A config that is checked as far as it can be before an image is read: a `Run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from florilegium.engine.core.errors import ConfigError, MissingPackage, UsageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.execution.nesting import refuse_nesting
from florilegium.engine.planning.config import RunConfig, SourceEntry
from florilegium.engine.planning.graph import Graph, plan
from florilegium.engine.planning.plugins import modules_of, search_for_plugins
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.sources.source import Source
from florilegium.engine.sources.takedown import Takedown, read_takedown
from florilegium.engine.sources.url import reached
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import cut, escaped


@dataclass(frozen=True, kw_only=True)
class Run:
    """A config whose graph is planned and whose folders and sources are open."""

    config: RunConfig
    graph: Graph
    sources: tuple[Source[Any], ...]
    output: Folder
    layers: Folder
    takedown: Takedown | None = None
    """The list of images to be taken down, if the config names one."""
    problem: UsageError | None = None
    """Why the source cannot be read, in a dry run, which then has no sources."""

    @property
    def source_tasks(self) -> frozenset[str]:
        """The tasks of which the sources are known to have labels."""
        return _tasks_of(self.config.source, self.sources)


def prepare(config: RunConfig, *, is_dry: bool = False, imports_modules: bool = True) -> Run:
    """Check a config as far as possible without reading an image.

    A dry run (`is_dry`) may lack packages of its stages, models and sources. Without
    `imports_modules`, modules that the config names are not imported, except installed ones.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
    """
    if imports_modules:
        search_for_plugins(config.plugin_path)
    _refuse_missing_packages(config, imports_modules=imports_modules)
    try:
        if not imports_modules:
            _refuse_unseen(config)
        sources = tuple(
            open_source(one, shard_size=config.shard_size, limits=config.limits)
            for one in config.source
        )
    except UsageError as problem:
        if not is_dry:
            raise
        return _without_sources(config, problem, imports_modules=imports_modules)
    entries = (SourceEntry(**source.config.model_dump()) for source in sources)
    config = config.model_copy(update={"source": tuple(entries)})
    output, layers = Folder(config.output), Folder(config.layers_url)
    for source in sources:
        refuse_nesting(source.config, output, layers)
    tasks = _tasks_of(config.source, sources)
    if config.filters and not (config.specialists or tasks):
        raise ConfigError(
            "without `specialists`, filters judge labels of the source, and the config does not "
            "say which it has: name their tasks, `source: {url: ..., provides: [caption]}`, or "
            "give at least 1 under `specialists`"
        )
    return Run(
        config=config,
        graph=plan(config, source_tasks=tasks, is_dry=is_dry, imports_modules=imports_modules),
        sources=sources,
        output=output,
        layers=layers,
        takedown=read_takedown(config.takedown) if config.takedown else None,
    )


def _tasks_of(entries: Sequence[SourceEntry], sources: Sequence[Source[Any]]) -> frozenset[str]:
    """Return the tasks that the config names as those of its sources, and that their kinds have."""
    provided = (entry.provides for entry in entries)
    return frozenset(chain(*provided, *(source.produces for source in sources)))


def _refuse_unseen(config: RunConfig) -> None:
    for key, use in modules_of(config):
        if key == "source.kind":
            raise ConfigError(
                f"{key} = {cut(use)} names a module, which a dry run does not import: what the "
                f"source holds is not known"
            )


def _without_sources(config: RunConfig, problem: UsageError, *, imports_modules: bool) -> Run:
    """Return a dry run whose sources cannot be opened; they may provide any task."""
    return Run(
        config=config,
        graph=plan(config, source_tasks=TASKS, is_dry=True, imports_modules=imports_modules),
        sources=(),
        output=Folder(config.output),
        layers=Folder(config.layers_url),
        problem=problem,
    )


def _refuse_missing_packages(config: RunConfig, *, imports_modules: bool) -> None:
    """Refuse URLs for which a package is missing; the error names what the stages lack, too.

    Raises:
        MissingPackage: with all pip lines.
    """
    absent: list[MissingPackage] = []
    others = (config.output, config.layers, config.takedown)
    for url in (*(source.url for source in config.source), *others):
        try:
            reached(url or "")
        except MissingPackage as error:
            absent.append(error)
        except ConfigError:
            pass  # a source may have a scheme of its own; opening it reports what is wrong
    if absent:
        graph = plan(config, source_tasks=TASKS, is_dry=True, imports_modules=imports_modules)
        raise MissingPackage.all_of([*absent, *graph.absent, *graph.awaited])


def remarks_of(run: Run) -> list[str]:
    """Return the sources' remarks on what was listed, and what stages leave out; with several
    sources, each line names one."""
    listed = [
        escaped(f"{redacted(source.config.url)}: {line}" if len(run.sources) > 1 else line)
        for source in run.sources
        for line in source.remarks()
    ]
    nodes = run.graph.nodes
    return [*listed, *(f"{node.name}: {line}" for node in nodes for line in node.stage.omissions())]


def refuse_caveats(run: Run) -> None:
    """Refuse stages whose annotations are worth nothing, unless the config allows them.

    Raises:
        ConfigError: with the stage and the reason.
    """
    for node in run.graph.nodes:
        if (caveat := node.stage.caveat()) and not run.config.allow_random_weights:
            raise ConfigError(
                f"stage {node.name!r} has {caveat}: its annotations are worth nothing; to "
                "measure its speed all the same, set allow_random_weights=true"
            )
