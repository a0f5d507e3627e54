"""Gates: the filters that judge before a stage is asked, so that nothing is made of what is dropped
anyway.

A stage that answers about annotations one by one (`Stage.each`) is asked about those that pass, and
every stage about samples that pass the sample filters before it. The gate's filters and thresholds
decide what that is: their digest is part of the names of the layers of the stage, and of those that
read it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from florilegium.engine.core.sample import SAMPLE_FILTERS, digest_of
from florilegium.engine.core.stage import Filter, SampleFilter, Specialist, Stage
from florilegium.engine.core.tasks import PHRASE_TASKS

Configurations = Mapping[str, Mapping[str, Any]]
"""The configurations of stages by fingerprint, as a manifest has them."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What decides which annotations a stage is asked about.

    `filters` judge in this order, each the tasks that it has here, the annotations of the source
    and of `lineage`, all specialists from which the stage descends; `measured` are those filters
    that have layers. `digest` stands for all this and for the gates of what the stage reads; it is
    empty without any.
    """

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sample_filters: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()
    digest: str = ""


def plan_gates(
    specialists: Mapping[str, Specialist[Any]],
    filters: Mapping[str, Filter[Any]],
    upstream: Mapping[str, Mapping[str, frozenset[str]]],
) -> dict[str, Gate]:
    """Return the gate of each specialist that has one, without digest.

    `specialists` are sorted: each after those that it reads; `upstream` is that of each stage. A
    gate drops nothing that the filters keep in the end. So a filter that compares annotations of a
    task (`Filter.judges_by`) judges it only where all of them are there: all specialists that
    predict them are in the lineage, and no filter that judges them was left out before. A filter is
    left out where its measurements need an answer of the stage, or of one that waits for the stage.
    What people say has no part in it: where they object to what made a filter drop another
    annotation, no stage is asked about that.
    """
    edges = {name: set(upstream[name]) for name in (*specialists, *filters)}
    gates: dict[str, Gate] = {}
    for name, stage in specialists.items():
        if not stage.each:
            continue
        lineage = _all_before(name, upstream)
        relevant = _relevant_tasks(name, specialists, upstream)
        incomplete = {
            task
            for other, one in specialists.items()
            if other not in lineage and not one.is_of_people
            for task in one.produces
        }
        judging: dict[str, tuple[str, ...]] = {}
        for other, judge in filters.items():
            if judge.is_of_people:
                continue
            tasks = relevant & _tasks_judged_early(judge, lineage, incomplete)
            waits = judge.has_layer and name in _all_before(other, edges)
            if tasks and not waits:
                judging[other] = tuple(sorted(tasks))
                if judge.has_layer:
                    edges[name].add(other)
            else:
                tasks = frozenset()
            incomplete |= judge.judged_tasks - tasks
        if judging:
            gates[name] = Gate(
                filters=judging,
                measured=tuple(one for one in judging if filters[one].has_layer),
                lineage=tuple(one for one in specialists if one in lineage),
            )
    return gates


def with_sample_filters(
    gates: Mapping[str, Gate],
    sample_filters: Mapping[str, SampleFilter[Any]],
    stages: Mapping[str, Stage[Any]],
    upstream: Mapping[str, Iterable[str]],
) -> dict[str, Gate]:
    """Return the gates of `stages`, sample filters among them, with the sample filters that judge
    before each.

    A sample filter waits for those before it, in their order here; any other stage for all that do
    not need its answers, directly or indirectly.
    """
    if not sample_filters:
        return dict(gates)
    found = {name: gates.get(name, Gate()) for name in stages}
    edges = {name: {*upstream[name], *gate.lineage, *gate.measured} for name, gate in found.items()}
    before: list[str] = []
    for name in (*sample_filters, *(name for name in stages if name not in sample_filters)):
        judges = [one for one in before if name not in _all_before(one, edges)]
        measured = [one for one in judges if sample_filters[one].has_layer]
        edges[name].update(measured)
        if stages[name].has_layer:
            gate = found[name]
            found[name] = replace(
                gate, sample_filters=tuple(judges), measured=(*measured, *gate.measured)
            )
        if name in sample_filters:
            before.append(name)
    return found


def _relevant_tasks(
    name: str,
    specialists: Mapping[str, Specialist[Any]],
    upstream: Mapping[str, Mapping[str, frozenset[str]]],
) -> frozenset[str]:
    """Return the tasks that a stage reads, and those of the annotations from which they descend."""
    tasks = set(specialists[name].read_tasks)
    waiting = [name]
    while waiting:
        for other, read in upstream[waiting.pop()].items():
            stage = specialists[other]
            has_parents = not read.isdisjoint(PHRASE_TASKS)
            if parents := stage.each or (stage.read_tasks if has_parents else ()):
                tasks.update(parents)
                waiting.append(other)
    return frozenset(tasks)


def _tasks_judged_early(
    judge: Filter[Any], lineage: Collection[str], incomplete: Collection[str]
) -> frozenset[str]:
    """Return the tasks whose verdicts are the same before a stage as in the end."""
    if judge.judges_by == "image":
        return frozenset()
    absent = [tasks for stage, tasks in judge.required_stages.items() if stage not in lineage]
    tasks = judge.judged_tasks.difference(*absent)
    return tasks.difference(incomplete) if judge.judges_by == "task" else tasks


def _all_before(name: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return all stages that a stage has to wait for, directly or indirectly."""
    found: set[str] = set()
    waiting = [*edges[name]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += edges[one]
    return found


def gate_configuration(gate: Gate) -> dict[str, Any]:
    """Return the entry of a stage's configuration about its gate; none where it has none."""
    if not (gate.filters or gate.sample_filters):
        return {}
    filters = [{"name": name, "tasks": list(tasks)} for name, tasks in gate.filters.items()]
    samples = {"sample_filters": list(gate.sample_filters)} if gate.sample_filters else {}
    return {"gate": {"filters": filters, **samples, "measured": list(gate.measured)}}


def divided_stages(stages: Configurations) -> frozenset[str]:
    """Return the fingerprints of the stages whose input a gate may change: specialists that answer
    about annotations one by one, stages after sample filters, and all that read one. Their layers
    have what was asked."""
    fingerprint = {stage["name"]: one for one, stage in stages.items()}
    reads = {
        one: [fingerprint[name] for name in stage.get("reads", ())] for one, stage in stages.items()
    }
    own = {
        one
        for one, stage in stages.items()
        if stage.get("each") or stage.get("gate", {}).get("sample_filters")
    }
    return frozenset(
        one for one in stages if one in own or not own.isdisjoint(_all_before(one, reads))
    )


def gate_digests(stages: Configurations) -> dict[str, str]:
    """Return the digest of each stage's gate by fingerprint, empty where there is none.

    Raises:
        ValueError: the configurations were changed: a gate names no stage, or waits for itself.
    """
    try:
        return _gate_digests(stages)
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"a gate cannot be read: {type(error).__name__}: {error}") from error


def _gate_digests(stages: Configurations) -> dict[str, str]:
    fingerprint = {stage["name"]: one for one, stage in stages.items()}
    digests: dict[str, str] = {}

    def digest(one: str) -> str:
        if one not in digests:
            stage = stages[one]
            read = [digest(fingerprint[name]) for name in stage.get("reads", ())]
            gate = stage.get("gate", {"filters": (), "measured": ()})
            parts: list[str] = []
            for judging in gate["filters"]:
                judge = _judgement(stages[fingerprint[judging["name"]]])
                parts += [judge, *judging["tasks"], ""]
            for name in gate.get("sample_filters", ()):
                parts += [SAMPLE_FILTERS, _judgement(stages[fingerprint[name]])]
            for name in gate["measured"]:
                parts += [fingerprint[name], digest(fingerprint[name])]
            is_gated = bool(parts) or any(read)
            digests[one] = digest_of([*parts, *read])[:16] if is_gated else ""
        return digests[one]

    return {one: digest(one) for one in stages}


def _judgement(configuration: Mapping[str, Any]) -> str:
    """Return what shapes the verdicts of a filter, but for its measurements: not what it reads, as
    that has the stages after the gate, too."""
    return json.dumps(
        {name: value for name, value in configuration.items() if name != "reads"}, sort_keys=True
    )
