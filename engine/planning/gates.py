"""Gates: the filters that judge before a stage is asked, so that nothing is made of what is dropped
anyway.

A stage that answers about annotations one by one (`Stage.each`) is asked about those that pass. The
gate's filters and thresholds decide what that is: their digest is part of the names of the layers
of the stage, and of those that read it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.sample import digest_of
from engine.core.stage import Filter, Specialist, Stage

Configurations = Mapping[str, Mapping[str, Any]]
"""The configurations of stages by fingerprint, as a manifest has them."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What decides which annotations a stage is asked about.

    `filters` judge, in this order, the annotations of the source and of `lineage`, all specialists
    from which the stage descends; `measured` are those filters that have layers. `digest` stands
    for all this and for the gates of what the stage reads; it is empty without any.
    """

    filters: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()
    digest: str = ""


def plan_gates(
    specialists: Mapping[str, Specialist[Any]],
    filters: Mapping[str, Filter[Any]],
    upstream: Mapping[str, Mapping[str, frozenset[str]]],
    source_tasks: frozenset[str],
) -> dict[str, Gate]:
    """Return the gate of each specialist that has one, without digest.

    `specialists` are sorted: each after those that it reads; `upstream` is that of each stage. A
    filter judges before a stage if all that it has to read is among what the stage reads and what
    that was made from, if the stage descends from all stages that the filter's options name, and
    if what the filter measures needs no answer of the stage.
    """
    before = {name: set(upstream[name]) for name in (*specialists, *filters)}
    gates: dict[str, Gate] = {}
    for name, stage in specialists.items():
        ancestors = _before(name, upstream)
        lineage = tuple(one for one in specialists if one in ancestors)
        tasks: set[str] = set()
        for one in (name, *lineage):
            tasks |= source_tasks & specialists[one].read_tasks
            tasks.update(*upstream[one].values())
        judging = []
        for other, judge in filters.items() if stage.each else ():
            if not _reads_among(judge, tasks) or not judge.required_stages.keys() <= ancestors:
                continue
            if judge.has_layer and name in _before(other, before):
                continue
            if judge.has_layer:
                before[name].add(other)
            judging.append(other)
        if judging:
            measured = tuple(one for one in judging if filters[one].has_layer)
            gates[name] = Gate(filters=tuple(judging), measured=measured, lineage=lineage)
    return gates


def _reads_among(judge: Filter[Any], tasks: Collection[str]) -> bool:
    """Whether these tasks have all that a filter has to read."""
    wanted = [one for one in judge.reads if not one.optional] or judge.reads
    return all(any(task in tasks for task in one.tasks) for one in wanted)


def _before(name: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return all stages that a stage has to wait for, directly or indirectly."""
    found: set[str] = set()
    waiting = [*edges[name]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += edges[one]
    return found


def gate_configuration(stage: Stage[Any], gate: Gate) -> dict[str, Any]:
    """Return the entries of a stage's configuration about its gate; none where it has none."""
    entries: dict[str, Any] = {}
    if isinstance(stage, Specialist) and stage.each:
        entries["each"] = list(stage.each)
    if gate.filters:
        entries["gate"] = {"filters": list(gate.filters), "measured": list(gate.measured)}
    return entries


def divided_stages(stages: Configurations) -> frozenset[str]:
    """Return the fingerprints of the stages whose input a gate may change: specialists that answer
    about annotations one by one, and all that read one. Their layers have what was asked."""
    fingerprint = {stage["name"]: one for one, stage in stages.items()}
    reads = {
        one: [fingerprint[name] for name in stage.get("reads", ())] for one, stage in stages.items()
    }
    own = {one for one, stage in stages.items() if stage.get("each")}
    return frozenset(one for one in stages if one in own or not own.isdisjoint(_before(one, reads)))


def gate_digests(stages: Configurations) -> dict[str, str]:
    """Return the digest of each stage's gate by fingerprint, empty where there is none."""
    fingerprint = {stage["name"]: one for one, stage in stages.items()}
    digests: dict[str, str] = {}

    def digest(one: str) -> str:
        if one not in digests:
            stage = stages[one]
            read = [digest(fingerprint[name]) for name in stage.get("reads", ())]
            gate = stage.get("gate", {"filters": (), "measured": ()})
            parts = [_judgement(stages[fingerprint[name]]) for name in gate["filters"]]
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
