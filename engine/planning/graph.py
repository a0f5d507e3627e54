"""The stage graph: what a config means, checked and ordered before anything starts.

The planner resolves names to classes, options to configs and tasks to edges, and gives every
stage its fingerprint. It loads no model and touches no image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Generic, TypeVar

from florilegium.engine.core.annotation import Provenance
from florilegium.engine.core.errors import MissingPackage, PlanError
from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.core.stage import Filter, SampleFilter, Specialist, Stage
from florilegium.engine.planning.config import SECTIONS, RunConfig
from florilegium.engine.planning.draft import (
    Draft,
    all_of,
    check_required,
    draft_of,
    revisions_of,
    upstream_of,
)
from florilegium.engine.planning.fingerprint import configuration_of, fingerprint_of, recipe_of
from florilegium.engine.planning.gates import (
    Gate,
    divided_stages,
    gate_configuration,
    gate_digests,
    plan_gates,
    with_sample_filters,
)

CPU_POOL = "cpu"
"""The pool whose workers host every stage that needs no GPU, so an image is decoded once."""


View = tuple[tuple[tuple[str, frozenset[str]], ...], frozenset[str]]
"""What a stage sees of a sample: the specialists that it reads, and the tasks."""

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
    gate: Gate = field(default_factory=Gate)
    """The filters that judge before the stage is asked, if any."""
    is_divided: bool = False
    """Whether a gate may change what the stage is asked: its layers have what that was."""
    fingerprint: str
    revision: str = ""
    """What names the exact model, as it was found when the run was planned: a worker on another
    machine, which has neither weights nor keys, names the same."""
    is_unseen: bool = False
    """Whether `stage` only stands in for one whose module was not imported."""
    is_on_cpu: bool = False
    """Whether a GPU stage has to do without one."""
    sample_share: float = 1.0
    """The share of the samples that the stage is asked about; it says nothing about the others."""
    comparison: str = ""
    """The file of the output with what a sample filter found when it compared the run, if it did
    already."""

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
    def inputs(self) -> tuple[str, ...]:
        """The stages whose answers must be there before this one is asked: those that it reads, and
        what its gate judges and measures."""
        return tuple(dict.fromkeys((*self.upstream, *self.gate.lineage, *self.gate.measured)))

    @cached_property
    def tasks(self) -> frozenset[str]:
        """All tasks that the stage reads."""
        return self.stage.read_tasks

    @cached_property
    def view(self) -> View:
        """What the stage sees of a sample; equal for stages that see the same."""
        return tuple(self.upstream.items()), self.tasks

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
        """Return everything the fingerprint stands for, thresholds and gate, as JSON values."""
        return configuration_of(
            self.name,
            self.use,
            self.stage,
            self.revision,
            tuple(self.upstream),
            sample_share=self.sample_share,
        ) | gate_configuration(self.gate)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All stages of a run: those with layers in an order that respects what they read.

    `images` is how the images of finished shards are written.
    """

    specialists: tuple[Node[Specialist[Any]], ...]
    filters: tuple[Node[Filter[Any]], ...]
    sample_filters: tuple[Node[SampleFilter[Any]], ...] = ()
    """In the order in which they judge: those that read annotations last."""
    images: ImageKind = "jpg"
    missing: tuple[str, ...] = ()
    """Commands that fetch models that are not here: of a graph that is only looked at."""
    absent: tuple[MissingPackage, ...] = ()
    """Packages that are not installed: of a graph that is only looked at."""
    awaited: tuple[MissingPackage, ...] = ()
    """Packages that models will want, which are not here either."""
    measures: str = ""
    """The sample filter for whose comparison shards are measured; they are not published."""

    @cached_property
    def layered(self) -> tuple[Node[Any], ...]:
        """The stages that write layers, each after its inputs; sample filters first where they can
        be, then specialists."""
        waiting = [node for node in self.nodes if node.stage.has_layer]
        order: list[Node[Any]] = []
        while waiting:
            later = {node.name for node in waiting}
            order.append(next(node for node in waiting if later.isdisjoint(node.inputs)))
            waiting.remove(order[-1])
        return tuple(order)

    @property
    def nodes(self) -> tuple[Node[Any], ...]:
        """Every stage: sample filters, specialists, filters."""
        return (*self.sample_filters, *self.specialists, *self.filters)

    def on_cpus(self) -> Graph:
        """Return the same graph with its GPU stages among those on CPUs."""
        return replace(
            self,
            sample_filters=tuple(replace(node, is_on_cpu=True) for node in self.sample_filters),
            specialists=tuple(replace(node, is_on_cpu=True) for node in self.specialists),
            filters=tuple(replace(node, is_on_cpu=True) for node in self.filters),
        )

    def about_all(self) -> Graph:
        """Return the same graph with every stage asked about every sample: to measure its cost."""
        whole = (replace(node, sample_share=1.0) for node in self.specialists)
        return replace(self, specialists=tuple(whole))

    @property
    def comparing(self) -> tuple[Node[SampleFilter[Any]], ...]:
        """The sample filters that compare the samples of the run, in their order."""
        return tuple(node for node in self.sample_filters if node.stage.compares)

    def until(self, name: str) -> Graph:
        """Return the stages that a sample filter builds on, and itself, to measure for it."""
        by_name = {node.name: node for node in self.nodes}
        wanted: set[str] = set()
        waiting = {name}
        while waiting:
            node = by_name[waiting.pop()]
            wanted.add(node.name)
            waiting |= {*node.inputs, *node.gate.filters, *node.gate.sample_filters} - wanted
        return replace(
            self,
            sample_filters=tuple(node for node in self.sample_filters if node.name in wanted),
            specialists=tuple(node for node in self.specialists if node.name in wanted),
            filters=tuple(node for node in self.filters if node.name in wanted),
            measures=name,
        )

    def with_comparison(self, name: str, file: str) -> Graph:
        """Return the same graph with what a sample filter found when it compared the run."""
        own = (
            replace(node, comparison=file) if node.name == name else node
            for node in self.sample_filters
        )
        return replace(self, sample_filters=tuple(own))

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
    imports_modules: bool | Collection[str] = True,
) -> Graph:
    """Turn a config into a checked graph.

    `source_tasks` are the tasks of which the source itself may have labels. A graph that is only
    looked at (`is_dry`) may lack packages and models; without `imports_modules`, or where that
    does not name it, a stage that is no installed one is not looked at. The fingerprints of such
    stages are not those of a run.

    Raises:
        MissingPackage: packages are not installed, all of them in one error.
        MissingModel: models are not here, all of them in one error.
        PlanError: an unknown stage, a missing input, a cycle or a stage of the wrong type.
        ConfigError: a stage's options are wrong.
    """
    _refuse_two_of_a_name(config)

    def is_imported(name: str) -> bool:
        if isinstance(imports_modules, bool):
            return imports_modules
        return name in imports_modules

    sample_filters, specialists, filters = (
        {
            name: draft_of(section, name, own, imports=is_imported(name))
            for name, own in getattr(config, section).items()
        }
        for section in SECTIONS
    )
    by_name = {**sample_filters, **specialists, **filters}
    drafts = by_name.values()
    revisions, missing, absent = revisions_of({draft.name: draft.stage for draft in drafts})
    awaited = [package for error in missing.values() for package in error.packages]
    if absent and not is_dry:
        raise MissingPackage.all_of([*absent, *awaited])
    if missing and not is_dry:
        raise all_of(missing)
    for draft in drafts:
        check_required(draft, specialists)
    provided = frozenset(source_tasks)
    upstream = {draft.name: upstream_of(draft, specialists, provided) for draft in drafts}
    nodes: dict[str, Node[Any]] = {}
    in_order = sorted(sample_filters, key=lambda name: bool(upstream[name]))
    for name in (*_order(specialists, upstream), *in_order, *filters):
        nodes[name] = _node(by_name[name], revisions[name], upstream[name], nodes)
    stages = {name: node.stage for name, node in nodes.items()}
    gates: dict[str, Gate] = {}
    if config.enrich == "kept":
        gates = plan_gates(
            {name: stage for name, stage in stages.items() if name in specialists},
            {name: stage for name, stage in stages.items() if name in filters},
            upstream,
        )
    gates = with_sample_filters(gates, {name: stages[name] for name in in_order}, stages, upstream)
    nodes |= {name: replace(nodes[name], gate=gate) for name, gate in gates.items()}
    nodes = _with_digests(nodes)
    return Graph(
        sample_filters=tuple(nodes[name] for name in in_order),
        specialists=tuple(node for name, node in nodes.items() if name in specialists),
        filters=tuple(node for name, node in nodes.items() if name in filters),
        images=config.images,
        missing=tuple(dict.fromkeys(one for error in missing.values() for one in error.commands)),
        absent=tuple(absent),
        awaited=tuple(awaited),
    )


def _refuse_two_of_a_name(config: RunConfig) -> None:
    sections: dict[str, list[str]] = {}
    for section in SECTIONS:
        for name in getattr(config, section):
            sections.setdefault(name, []).append(section.removesuffix("s").replace("_", " "))
    for name, kinds in sections.items():
        if len(kinds) > 1:
            raise PlanError(f"{name!r} names a {' and a '.join(kinds)}: rename one with `use`")


def _with_digests(nodes: Mapping[str, Node[Any]]) -> dict[str, Node[Any]]:
    """Return the nodes with the digests of their gates."""
    stages = {node.fingerprint: node.configuration() for node in nodes.values()}
    digests, divided = gate_digests(stages), divided_stages(stages)
    return {
        name: replace(
            node,
            gate=replace(node.gate, digest=digests[node.fingerprint]),
            is_divided=node.fingerprint in divided,
        )
        for name, node in nodes.items()
    }


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


def _node(
    draft: Draft,
    revision: str,
    upstream: Mapping[str, frozenset[str]],
    earlier: Mapping[str, Node[Any]],
) -> Node[Any]:
    configuration = configuration_of(
        draft.name,
        draft.use,
        draft.stage,
        revision,
        tuple(upstream),
        sample_share=draft.sample_share,
    )
    return Node(
        name=draft.name,
        use=draft.use,
        stage=draft.stage,
        upstream=upstream,
        fingerprint=fingerprint_of(configuration, [earlier[name].fingerprint for name in upstream]),
        revision=revision,
        is_unseen=draft.is_unseen,
        sample_share=draft.sample_share,
    )
