"""The stage graph: what a config means, checked and ordered before anything starts.

The planner resolves names to classes, options to configs and tasks to edges, and gives every
stage its fingerprint. It loads no model and touches no image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Generic, TypeVar

from engine.core.annotation import Provenance
from engine.core.errors import MissingModel, MissingPackage, PlanError, nearest
from engine.core.image_member import ImageKind
from engine.core.sample import digest_of
from engine.core.stage import RUNTIME, THRESHOLD, Filter, Marker, Specialist, Stage, StageConfig
from engine.core.tasks import TASKS
from engine.planning.config import RunConfig, validated
from engine.planning.plugins import Unseen, UnseenFilter
from engine.planning.registry import absent_packages, find_stage, is_module
from engine.sources.source import SOURCE

FORMAT_VERSION = 4
"""Raise it when the engine writes the same annotations differently."""
CPU_POOL = "cpu"
"""The pool whose workers host every stage that needs no GPU, so an image is decoded once."""


StageT_co = TypeVar("StageT_co", bound=Stage[Any], covariant=True)


@dataclass(frozen=True, kw_only=True)
class Node(Generic[StageT_co]):
    """A stage in its place: what it reads, and the fingerprint that names its layers."""

    name: str
    use: str
    stage: StageT_co
    inputs: tuple[str, ...]
    """Names of the stages that are read."""
    fingerprint: str
    revision: str = ""
    """What names the exact model, as it was found when the run was planned: a worker on another
    machine, which has neither weights nor keys, names the same."""
    is_on_cpu: bool = False
    """Whether a GPU stage has to do without one."""

    @property
    def wants_gpu(self) -> bool:
        """Whether the stage is to have a GPU, or a share of one."""
        return self.stage.config.num_gpus > 0

    @property
    def pool(self) -> str:
        """The pool of workers that hosts the stage."""
        has_own = self.stage.is_remote or (self.wants_gpu and not self.is_on_cpu)
        return self.name if has_own else CPU_POOL

    @cached_property
    def tasks(self) -> frozenset[str]:
        """All tasks that the stage reads."""
        return frozenset(task for wanted in self.stage.reads for task in wanted.tasks)

    @property
    def has_layer(self) -> bool:
        """Whether the stage says or measures something that is stored."""
        return not isinstance(self.stage, Filter) or bool(self.stage.measured)

    @cached_property
    def provenance(self) -> Provenance:
        """Who speaks when this stage speaks."""
        stage = self.stage
        return Provenance(
            specialist=self.name,
            model=stage.model,
            revision=self.revision,
            round=stage.config.round,
            stage=self.fingerprint,
        )

    def configuration(self) -> dict[str, Any]:
        """Return everything the fingerprint stands for, and the thresholds, as JSON values."""
        return _configuration(self.name, self.use, self.stage, self.revision, self.inputs)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All stages of a run: those with layers in an order that respects what they read.

    `images` is how the images of finished shards are written.
    """

    specialists: tuple[Node[Specialist[Any]], ...]
    filters: tuple[Node[Filter[Any]], ...]
    images: ImageKind = "jpg"
    missing: tuple[str, ...] = ()
    """Commands that fetch models that are not here: of a graph that is only looked at."""
    absent: tuple[MissingPackage, ...] = ()
    """Packages that are not installed: of a graph that is only looked at."""
    awaited: tuple[MissingPackage, ...] = ()
    """Packages that models will want, which are not here either."""

    @property
    def layered(self) -> tuple[Node[Any], ...]:
        """The stages that write layers, each after those that it reads."""
        return (*self.specialists, *(node for node in self.filters if node.has_layer))

    @property
    def nodes(self) -> tuple[Node[Any], ...]:
        """Every stage, specialists first."""
        return (*self.specialists, *self.filters)

    def on_cpus(self) -> Graph:
        """Return the same graph with its GPU stages among those on CPUs."""
        return replace(
            self,
            specialists=tuple(replace(node, is_on_cpu=True) for node in self.specialists),
            filters=tuple(replace(node, is_on_cpu=True) for node in self.filters),
        )

    @property
    def recipe(self) -> str:
        """A digest of everything that shapes a shard: stages, thresholds, images, format."""
        stages = {node.fingerprint: node.configuration() for node in self.nodes}
        return recipe_of(self.images, stages)


def plan(
    config: RunConfig,
    *,
    source_tasks: Iterable[str] = (),
    is_dry: bool = False,
    imports_modules: bool = True,
) -> Graph:
    """Turn a config into a checked graph.

    `source_tasks` are the tasks that the source itself may bring. A graph that is only looked at
    (`is_dry`) may lack packages and models; without `imports_modules`, a stage that is no installed
    one is not looked at. The fingerprints of such stages are not those of a run.

    Raises:
        MissingPackage: packages are not installed, all of them in one error.
        MissingModel: models are not here, all of them in one error.
        PlanError: an unknown stage, a missing input, a cycle or a stage of the wrong type.
        ConfigError: a stage's options are wrong.
    """
    both = set(config.specialists) & set(config.filters)
    if both:
        raise PlanError(f"{min(both)!r} names a specialist and a filter: rename one with `use`")
    specialists = {
        name: _draft("specialists", name, options, Specialist, imports=imports_modules)
        for name, options in config.specialists.items()
    }
    filters = {
        name: _draft("filters", name, options, Filter, imports=imports_modules)
        for name, options in config.filters.items()
    }
    drafts = (*specialists.values(), *filters.values())
    revisions, missing, absent = _revisions(drafts)
    awaited = [package for error in missing.values() for package in error.packages]
    if absent and not is_dry:
        raise MissingPackage.all_of([*absent, *awaited])
    if missing and not is_dry:
        raise _all_of(missing)
    for draft in drafts:
        _check_reliance(draft, specialists)
    edges = {draft.name: _inputs(draft, specialists, frozenset(source_tasks)) for draft in drafts}
    nodes: dict[str, Node[Any]] = {}
    for name in (*_order(specialists, edges), *filters):
        draft = specialists[name] if name in specialists else filters[name]
        nodes[name] = _node(draft, revisions[name], edges[name], nodes)
    return Graph(
        specialists=tuple(node for name, node in nodes.items() if name in specialists),
        filters=tuple(node for name, node in nodes.items() if name in filters),
        images=config.images,
        missing=tuple(dict.fromkeys(one for error in missing.values() for one in error.commands)),
        absent=tuple(absent),
        awaited=tuple(awaited),
    )


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A stage whose options are checked but whose place in the graph is not known yet."""

    name: str
    use: str
    stage: Stage[Any]
    reads: tuple[str, ...] | None


def _draft(
    section: str, name: str, options: Mapping[str, Any], kind: type[Stage[Any]], *, imports: bool
) -> _Draft:
    if name == SOURCE or name.startswith(f"{SOURCE}-"):
        raise PlanError(
            f"{section}.{name}: the name {SOURCE!r} belongs to the labels of the source, and "
            f"`{SOURCE}-...` to what was read of it: rename the stage"
        )
    own = dict(options)
    use = str(own.pop("use", name))
    reads = own.pop("reads", None)
    if isinstance(reads, str):
        reads = [reads]
    if is_module(use) and not imports:
        stage_class: type[Stage[Any]] = Unseen if kind is Specialist else UnseenFilter
    else:
        stage_class = find_stage(use)
    if not issubclass(stage_class, kind):
        belongs = "specialists" if issubclass(stage_class, Specialist) else "filters"
        raise PlanError(f"{section}.{name}: {use!r} belongs under `{belongs}`")
    stage_config = validated(stage_class.Config, own, where=f"{section}.{name}")
    stage = stage_class(stage_config)
    if reads is None or isinstance(stage, Unseen | UnseenFilter):
        return _Draft(name=name, use=use, stage=stage, reads=None)
    return _Draft(name=name, use=use, stage=stage, reads=tuple(reads))


def _inputs(
    draft: _Draft, specialists: Mapping[str, _Draft], source_tasks: frozenset[str]
) -> tuple[str, ...]:
    """Return the names of the specialists that a stage reads, in config order."""
    others = {name: other for name, other in specialists.items() if name != draft.name}
    if draft.reads is not None:
        _check_reads(draft, others)
        others = {name: other for name, other in others.items() if name in draft.reads}
    else:  # of those that were not imported nobody knows what they say
        seen = {name: one for name, one in others.items() if not isinstance(one.stage, Unseen)}
        source_tasks = source_tasks if len(seen) == len(others) else frozenset(TASKS)
        others = seen
    read: set[str] = set()
    for wanted in draft.stage.reads:
        found = {name for name, other in others.items() if _says(other) & set(wanted.tasks)}
        if not found and not wanted.optional and not source_tasks & set(wanted.tasks):
            produced = source_tasks.union(*(_says(other) for other in others.values()))
            section = "specialists" if isinstance(draft.stage, Specialist) else "filters"
            raise PlanError(
                f"stage {draft.name!r} reads {wanted}, which no stage here produces (they produce "
                f"{', '.join(sorted(produced)) or 'nothing'}): add a specialist that does, or "
                f"switch the stage off by --set {section}.{draft.name}=null; when the source has "
                f"such labels, say so: source: {{url: ..., brings: [{wanted.tasks[0]}]}}"
            )
        read |= found
    return tuple(name for name in specialists if name in read)


def _check_reads(draft: _Draft, others: Mapping[str, _Draft]) -> None:
    wanted = {task for entry in draft.stage.reads for task in entry.tasks}
    for name in draft.reads or ():
        if name not in others:
            raise PlanError(
                f"stage {draft.name!r} reads {name!r}, which is no specialist here; "
                f"{nearest(name, others)}"
            )
        if not _says(others[name]) & wanted:
            fitting = [other for other, says in others.items() if _says(says) & wanted]
            raise PlanError(
                f"stage {draft.name!r} reads {' or '.join(sorted(wanted)) or 'nothing'}, but "
                f"{name!r} produces {', '.join(sorted(_says(others[name])))}; "
                f"{nearest(name, fitting)}"
            )


def _check_reliance(draft: _Draft, specialists: Mapping[str, _Draft]) -> None:
    """Refuse options that name a specialist which is not there, or says something else."""
    for name, tasks in draft.stage.relies_on.items():
        if name not in specialists:
            raise PlanError(
                f"stage {draft.name!r} names {name!r}, which is no specialist here; "
                f"{nearest(name, specialists)}"
            )
        if missing := sorted(set(tasks) - _says(specialists[name])):
            raise PlanError(
                f"stage {draft.name!r} names {name!r} for {', '.join(missing)}, but it produces "
                f"{', '.join(sorted(_says(specialists[name])))}"
            )


def _says(draft: _Draft) -> frozenset[str]:
    return frozenset(draft.stage.produces) if isinstance(draft.stage, Specialist) else frozenset()


def _order(specialists: Sequence[str] | Mapping[str, Any], edges: Mapping[str, Any]) -> list[str]:
    """Sort topologically; stages that could go in any order keep that of the config."""
    position = {name: index for index, name in enumerate(specialists)}
    sorter = TopologicalSorter({name: edges[name] for name in specialists})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise PlanError(
            f"the stages read each other in a circle: {circle}; "
            f"name in `reads` of one of them only the stages it should read"
        ) from None
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        order.extend(ready)
        sorter.done(*ready)
    return order


def _revisions(
    drafts: Iterable[_Draft],
) -> tuple[dict[str, str], dict[str, MissingModel], list[MissingPackage]]:
    """Return what names each stage's model, the stages whose models are not here, and packages
    that are not installed."""
    revisions: dict[str, str] = {}
    missing: dict[str, MissingModel] = {}
    absent: list[MissingPackage] = []
    for draft in drafts:
        revisions[draft.name] = ""
        absent += (found := absent_packages(draft.name, draft.stage))
        try:
            revisions[draft.name] = draft.stage.revision()
        except MissingModel as error:
            missing[draft.name] = error
        except MissingPackage as error:
            absent.append(error)
        except ImportError:  # also what tells a version, of a package that is missing
            if not found:
                raise
    return revisions, missing, absent


def _all_of(missing: Mapping[str, MissingModel]) -> MissingModel:
    """Return one error for all models, so that they are fetched in one go."""
    if len(missing) == 1:
        return next(iter(missing.values()))
    commands = dict.fromkeys(one for error in missing.values() for one in error.commands)
    return MissingModel(
        f"the models of {', '.join(missing)} are not in the local cache of the hub; fetch them, "
        "gated ones after `hf auth login`:",
        *commands,
        packages=[package for error in missing.values() for package in error.packages],
    )


def _node(
    draft: _Draft, revision: str, inputs: tuple[str, ...], earlier: Mapping[str, Node[Any]]
) -> Node[Any]:
    stage = draft.stage
    configuration = _configuration(draft.name, draft.use, stage, revision, inputs)
    fingerprint = fingerprint_of(configuration, [earlier[name].fingerprint for name in inputs])
    node = Node(
        name=draft.name,
        use=draft.use,
        stage=stage,
        inputs=inputs,
        fingerprint=fingerprint,
        revision=revision,
    )
    stage.hears = {name: node.tasks & frozenset(earlier[name].stage.produces) for name in inputs}
    return node


def fingerprint_of(configuration: Mapping[str, Any], read: Sequence[str]) -> str:
    """Return the fingerprint of a stage from its configuration, as a manifest has it, and the
    fingerprints of the stages that it reads."""
    said = {
        name: value
        for name, value in configuration["config"].items()
        if name not in configuration["thresholds"]
    }
    texts = [str(configuration[name]) for name in ("name", "use", "version", "model", "revision")]
    return digest_of([*texts, json.dumps(said, sort_keys=True), *read])[:16]


def recipe_of(images: str, stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the recipe of stages by fingerprint, with their configurations, in their order."""
    configurations = [json.dumps(one, sort_keys=True) for one in stages.values()]
    return digest_of([str(FORMAT_VERSION), images, *stages, *configurations])


def _configuration(
    name: str, use: str, stage: Stage[Any], revision: str, inputs: Sequence[str]
) -> dict[str, Any]:
    return {
        "name": name,
        "use": use,
        "version": stage.version,
        "model": stage.model,
        "revision": revision,
        "reads": list(inputs),
        "config": _options(stage.config, without=(RUNTIME,)),
        "thresholds": sorted(_marked(stage.config, (THRESHOLD,))),
    }


def _options(config: StageConfig, *, without: tuple[Marker, ...]) -> dict[str, Any]:
    """Return a stage's options as JSON values, those with one of these marks left out."""
    return config.model_dump(mode="json", exclude=_marked(config, without))


def _marked(config: StageConfig, marks: tuple[Marker, ...]) -> set[str]:
    """Return the names of the options that have one of these marks."""
    return {
        name
        for name, info in type(config).model_fields.items()
        if any(mark in marks for mark in info.metadata if isinstance(mark, Marker))
    }
