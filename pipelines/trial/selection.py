"""Which stages a trial runs: the one that is tried, and those of a config that it builds on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from florilegium.engine.core.errors import MissingPackage, UsageError
from florilegium.engine.core.stage import Specialist
from florilegium.engine.planning.config import SECTIONS, RunConfig, load_document
from florilegium.engine.planning.draft import all_of, draft_of, revisions_of
from florilegium.engine.planning.graph import Graph, Node, plan
from florilegium.engine.planning.plugins import search_for_plugins
from florilegium.engine.planning.registry import find_stage
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.trial.given import GIVEN

Options = dict[str, Any]
_STAGE = "stage"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The stage to try, by `name`, in the graph of it and its upstream: all as they are in a build
    by `config`."""

    name: str
    graph: Graph
    config: RunConfig

    @property
    def node(self) -> Node[Any]:
        """The stage to try."""
        return next(node for node in self.graph.nodes if node.name == self.name)


def select(
    config: RunConfig, use: str, overrides: Sequence[str], given: Mapping[str, Any] | None
) -> Selection:
    """Return the stage to try, with its upstream.

    `use` is the name of a stage of the config, that of an installed one, or `module:Class`;
    `overrides` of its options are of the form `key=value`. The stage of annotations that are
    `given`, where there are any, stands for all others.

    Raises:
        UsageError: there is no such stage, or what it reads, or what it needs, is not there.
        ConfigError: an option is wrong.
    """
    search_for_plugins(config.plugin_path)
    section, name, options = _found(config, use)
    stages: dict[str, dict[str, Options]] = {one: dict(getattr(config, one)) for one in SECTIONS}
    if given is not None:
        stages = {"sample_filters": {}, "specialists": {GIVEN: dict(given)}, "filters": {}}
        options = {key: value for key, value in options.items() if key != "reads"}
    stages[section][name] = _with_overrides(options, overrides)
    _refuse_without_inputs(section, name, stages, {*config.source[0].provides})
    whole = config.model_copy(update=stages)
    graph, wanted = _planned(whole, name)
    graph = replace(
        graph,
        sample_filters=tuple(node for node in graph.sample_filters if node.name in wanted),
        specialists=tuple(node for node in graph.specialists if node.name in wanted),
        filters=tuple(node for node in graph.filters if node.name in wanted),
    )
    _refuse_what_is_missing(graph)
    return Selection(name=name, graph=graph, config=whole)


def _planned(config: RunConfig, name: str) -> tuple[Graph, set[str]]:
    """Return the graph of a config, and a stage with all that it builds on.

    Modules of other stages are not imported, unless nothing but their code tells that.
    """
    imported = {name}
    while True:
        graph = plan(
            config, source_tasks=config.source[0].provides, is_dry=True, imports_modules=imported
        ).about_all()
        wanted = _upstream(graph, name)
        needed = wanted | _perhaps_upstream(config, graph, wanted)
        if not any(node.is_unseen and node.name in needed for node in graph.nodes):
            return graph, wanted
        imported |= needed


def _perhaps_upstream(config: RunConfig, graph: Graph, wanted: set[str]) -> set[str]:
    """Return the stages that these may read or be gated by, which their classes tell: all, where
    `reads` names none."""
    found: set[str] = set()
    stages = {**config.sample_filters, **config.specialists, **config.filters}
    for node in graph.nodes:
        if node.name in wanted and node.tasks:
            found |= {*config.specialists} if stages[node.name].get("reads") is None else set()
            found |= {*config.filters} if isinstance(node.stage, Specialist) else set()
    return found


def _with_overrides(options: Options, overrides: Sequence[str]) -> Options:
    for one in overrides:
        if "=" not in one:
            raise UsageError(f"--set {cut(one)}: write KEY=VALUE, an option of the stage")
    dotted = [f"{_STAGE}.{one}" for one in overrides]
    document = load_document(None, changes={_STAGE: deepcopy(options)}, overrides=dotted)
    return dict(document[_STAGE])


def _found(config: RunConfig, use: str) -> tuple[str, str, Options]:
    """Return the section, the name and the options of a stage; a new name where it is not one of
    the config."""
    for section in SECTIONS:
        stages: Mapping[str, Options] = getattr(config, section)
        same = [name for name, own in stages.items() if own.get("use", name) == use]
        if use in stages or len(same) == 1:
            name = use if use in stages else same[0]
            return section, name, {"use": name, **stages[name]}
        if same:
            raise UsageError(f"{', '.join(same)} of the config are {use!r}: name one of them")
    section, name = find_stage(use).section, use.rpartition(":")[2]
    while any(name in getattr(config, one) for one in SECTIONS):
        name += "_"
    return section, name, {"use": use}


def _refuse_without_inputs(
    section: str, name: str, stages: Mapping[str, Mapping[str, Options]], labels: set[str]
) -> None:
    """Refuse a stage alone that reads what no label of the source is; of several, the planner finds
    what is missing."""
    stage = draft_of(section, name, stages[section][name], imports=True).stage
    others = stages[Specialist.section].keys() - {name}
    for wanted in stage.reads:
        if not others and not wanted.optional and labels.isdisjoint(wanted.tasks):
            raise UsageError(
                f"stage {name!r} reads {wanted}, which nothing here gives: name a config whose "
                f"stages do (`--config quickstart`), or a file with such annotations "
                f"(`--annotations FILE.json`); a caption may be in a .txt beside the image"
            )


def _upstream(graph: Graph, name: str) -> set[str]:
    """Return a stage and all that is asked or judges before it. A filter that measures nothing
    judges what is there: the stages that it reads are not needed for that."""
    nodes = {node.name: node for node in graph.nodes}
    wanted: set[str] = set()
    waiting = [name]
    while waiting:
        node = nodes[waiting.pop()]
        wanted |= {node.name, *node.gate.filters, *node.gate.sample_filters}
        waiting += {*node.inputs} - wanted | {*node.gate.measured}
    return wanted


def _refuse_what_is_missing(graph: Graph) -> None:
    """Refuse stages that cannot be loaded here.

    Raises:
        MissingPackage: packages are not installed, all of them in one error.
        MissingModel: models are not here, all of them in one error.
    """
    _, missing, absent = revisions_of({node.name: node.stage for node in graph.nodes})
    if absent:
        raise MissingPackage.all_of(absent)
    if missing:
        raise all_of(missing)
