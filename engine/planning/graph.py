"""The stage graph: what a config means, checked and ordered before anything starts.

The planner resolves names to classes, options to configs and tasks to edges, and gives every
stage its fingerprint. It loads no model and touches no image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Generic, TypeVar

from engine.core.annotation import SOURCE, Provenance
from engine.core.errors import MissingModel, MissingPackage, PlanError, nearest
from engine.core.image_member import ImageKind
from engine.core.stage import Filter, Specialist, Stage
from engine.core.tasks import TASKS
from engine.planning.config import RunConfig, validated
from engine.planning.fingerprint import configuration_of, fingerprint_of, recipe_of
from engine.planning.plugins import UNSEEN
from engine.planning.registry import absent_packages, find_stage, is_module
from engine.sources.source import RECEIPTS

CPU_POOL = "cpu"
"""The pool whose workers host every stage that needs no GPU, so an image is decoded once."""


StageT_co = TypeVar("StageT_co", bound=Stage[Any], covariant=True)


@dataclass(frozen=True, kw_only=True)
class Node(Generic[StageT_co]):
    """A stage in the graph: which others it reads, and the fingerprint that names its layers."""

    name: str
    use: str
    stage: StageT_co
    upstream: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The specialists that are read, by name, in config order, and which of the tasks that the
    stage reads each produces."""
    fingerprint: str
    revision: str = ""
    """What names the exact model, as it was found when the run was planned: a worker on another
    machine, which has neither weights nor keys, names the same."""
    is_unseen: bool = False
    """Whether `stage` only stands in for one whose module was not imported."""
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
        return self.stage.read_tasks

    @cached_property
    def provenance(self) -> Provenance:
        """What the annotations of the stage are stamped with."""
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
        return configuration_of(
            self.name, self.use, self.stage, self.revision, tuple(self.upstream)
        )


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
        return (*self.specialists, *(node for node in self.filters if node.stage.has_layer))

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

    `source_tasks` are the tasks of which the source itself may have labels. A graph that is only
    looked at (`is_dry`) may lack packages and models; without `imports_modules`, a stage that is
    no installed one is not looked at. The fingerprints of such stages are not those of a run.

    Raises:
        MissingPackage: packages are not installed, all of them in one error.
        MissingModel: models are not here, all of them in one error.
        PlanError: an unknown stage, a missing input, a cycle or a stage of the wrong type.
        ConfigError: a stage's options are wrong.
    """
    both = set(config.specialists) & set(config.filters)
    if both:
        raise PlanError(f"{min(both)!r} names a specialist and a filter: rename one with `use`")
    sections = ((Specialist.section, config.specialists), (Filter.section, config.filters))
    specialists, filters = (
        {name: _draft(section, name, own, imports=imports_modules) for name, own in stages.items()}
        for section, stages in sections
    )
    drafts = (*specialists.values(), *filters.values())
    revisions, missing, absent = _revisions(drafts)
    awaited = [package for error in missing.values() for package in error.packages]
    if absent and not is_dry:
        raise MissingPackage.all_of([*absent, *awaited])
    if missing and not is_dry:
        raise _all_of(missing)
    for draft in drafts:
        _check_required(draft, specialists)
    upstream = {
        draft.name: _upstream(draft, specialists, frozenset(source_tasks)) for draft in drafts
    }
    nodes: dict[str, Node[Any]] = {}
    for name in (*_order(specialists, upstream), *filters):
        draft = specialists[name] if name in specialists else filters[name]
        nodes[name] = _node(draft, revisions[name], upstream[name], nodes)
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
    """A stage whose options are checked but whose edges in the graph are not known yet.

    `reads` are the stages that the config names as those to read.
    """

    name: str
    use: str
    stage: Stage[Any]
    reads: tuple[str, ...] | None
    is_unseen: bool


def _draft(section: str, name: str, options: Mapping[str, Any], *, imports: bool) -> _Draft:
    if name == SOURCE or name.startswith(RECEIPTS):
        raise PlanError(
            f"{section}.{name}: the name {SOURCE!r} belongs to the labels of the source, and "
            f"`{SOURCE}-...` to what was read of it: rename the stage"
        )
    own = dict(options)
    use = str(own.pop("use", name))
    reads = own.pop("reads", None)
    if isinstance(reads, str):
        reads = [reads]
    is_unseen = is_module(use) and not imports
    stage_class: type[Stage[Any]] = UNSEEN[section] if is_unseen else find_stage(use)
    if stage_class.section != section:
        raise PlanError(f"{section}.{name}: {use!r} belongs under `{stage_class.section}`")
    stage_config = validated(stage_class.Config, own, where=f"{section}.{name}")
    return _Draft(
        name=name,
        use=use,
        stage=stage_class(stage_config),
        reads=None if reads is None or is_unseen else tuple(reads),
        is_unseen=is_unseen,
    )


def _upstream(
    draft: _Draft, specialists: Mapping[str, _Draft], source_tasks: frozenset[str]
) -> dict[str, frozenset[str]]:
    """Return the specialists that a stage reads, in config order, each with the tasks it reads."""
    others = {name: other for name, other in specialists.items() if name != draft.name}
    if draft.reads is not None:
        _check_reads(draft, others)
        others = {name: other for name, other in others.items() if name in draft.reads}
    else:  # what those produce that were not imported is unknown
        seen = {name: one for name, one in others.items() if not one.is_unseen}
        source_tasks = source_tasks if len(seen) == len(others) else frozenset(TASKS)
        others = seen
    for wanted in draft.stage.reads:
        found = any(_produces(other) & set(wanted.tasks) for other in others.values())
        if not found and not wanted.optional and not source_tasks & set(wanted.tasks):
            produced = source_tasks.union(*(_produces(other) for other in others.values()))
            raise PlanError(
                f"stage {draft.name!r} reads {wanted}, which no stage here produces (they produce "
                f"{', '.join(sorted(produced)) or 'nothing'}): add a specialist that does, or "
                f"switch the stage off by --set {draft.stage.section}.{draft.name}=null; when the "
                f"source has such labels, say so: "
                f"source: {{url: ..., provides: [{wanted.tasks[0]}]}}"
            )
    read = {name: _produces(one) & draft.stage.read_tasks for name, one in others.items()}
    return {name: tasks for name, tasks in read.items() if tasks}


def _check_reads(draft: _Draft, others: Mapping[str, _Draft]) -> None:
    wanted = draft.stage.read_tasks
    for name in draft.reads or ():
        if name not in others:
            raise PlanError(
                f"stage {draft.name!r} reads {name!r}, which is no specialist here; "
                f"{nearest(name, others)}"
            )
        if not _produces(others[name]) & wanted:
            fitting = [other for other, one in others.items() if _produces(one) & wanted]
            raise PlanError(
                f"stage {draft.name!r} reads {' or '.join(sorted(wanted)) or 'nothing'}, but "
                f"{name!r} produces {', '.join(sorted(_produces(others[name])))}; "
                f"{nearest(name, fitting)}"
            )


def _check_required(draft: _Draft, specialists: Mapping[str, _Draft]) -> None:
    """Refuse options that name a specialist which is not there, or produces other tasks."""
    for name, tasks in draft.stage.required_stages.items():
        if name not in specialists:
            raise PlanError(
                f"stage {draft.name!r} names {name!r}, which is no specialist here; "
                f"{nearest(name, specialists)}"
            )
        if missing := sorted(set(tasks) - _produces(specialists[name])):
            raise PlanError(
                f"stage {draft.name!r} names {name!r} for {', '.join(missing)}, but it produces "
                f"{', '.join(sorted(_produces(specialists[name])))}"
            )


def _produces(draft: _Draft) -> frozenset[str]:
    return frozenset(draft.stage.produces)


def _order(specialists: Iterable[str], upstream: Mapping[str, Iterable[str]]) -> list[str]:
    """Sort topologically; stages that could go in any order keep that of the config."""
    position = {name: index for index, name in enumerate(specialists)}
    sorter = TopologicalSorter({name: upstream[name] for name in specialists})
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
    draft: _Draft,
    revision: str,
    upstream: Mapping[str, frozenset[str]],
    earlier: Mapping[str, Node[Any]],
) -> Node[Any]:
    configuration = configuration_of(draft.name, draft.use, draft.stage, revision, tuple(upstream))
    return Node(
        name=draft.name,
        use=draft.use,
        stage=draft.stage,
        upstream=upstream,
        fingerprint=fingerprint_of(configuration, [earlier[name].fingerprint for name in upstream]),
        revision=revision,
        is_unseen=draft.is_unseen,
    )
