"""The stages of a round: the run's own, the students, and what the merge stages read.

From one config to others; no file is opened and nothing is run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError
from engine.planning.config import RunConfig, validated
from engine.planning.graph import Graph
from pipelines.merge.stage import Merge, MergeConfig
from pipelines.refine.config import RefineConfig
from specialists.florence2.config import Florence2Config

Stages = dict[str, dict[str, Any]]


def plain(
    config: RefineConfig, *, output: str, stages: Stages | None = None, has_filters: bool = True
) -> RunConfig:
    """Return the run of a round: the same source and layers, another output and other stages."""
    values = {name: getattr(config, name) for name in RunConfig.model_fields}
    values |= {"output": output, "layers": config.layers_url}
    values |= {} if stages is None else {"specialists": stages}
    values |= {} if has_filters else {"filters": {}}
    return RunConfig.model_construct(**values)


def with_students(config: RefineConfig, checkpoints: Sequence[str], number: int) -> Stages:
    """Return the stages of a round in which trained checkpoints have their say.

    Raises:
        ConfigError: a student has the name of a stage, or no merge stage could hear it.
    """
    stages = {name: dict(options) for name, options in config.specialists.items()}
    for name, options in config.refine.students.items():
        if name in stages:
            raise ConfigError(f"refine.students.{name}: a specialist has that name, rename one")
        student = {
            "use": "florence2",
            "reads": [],
            **options,
            "model": list(checkpoints),
            "round": number,
        }
        says = _tasks_of(student, Florence2Config, where=f"refine.students.{name}")
        joined = [
            merge
            for merge in merges_of(stages)
            if says & _tasks_of(stages[merge], MergeConfig, where=f"specialists.{merge}")
        ]
        if not joined:
            tasks = ", ".join(sorted(says))
            raise ConfigError(
                f"refine.students.{name} says {tasks}, which no merge stage takes: add a "
                f"specialist with `use: merge` and `tasks: [{tasks}]`"
            )
        for merge in joined:
            _refuse_calibration(merge, stages[merge])
            voters = stages[merge].get("reads")
            if voters is not None:
                stages[merge]["reads"] = [*voters, name]
            stages[merge]["round"] = number
        stages[name] = student
    return stages


def _tasks_of(
    options: Mapping[str, Any], model: type[Florence2Config | MergeConfig], *, where: str
) -> set[str]:
    own = {key: value for key, value in options.items() if key not in ("use", "reads")}
    return set(validated(model, own, where=where).tasks)


def _refuse_calibration(merge: str, options: Mapping[str, Any]) -> None:
    if options.get("calibration"):
        raise ConfigError(
            f"specialists.{merge}.calibration = {options['calibration']!r} was made without the "
            f"students, which speak in it from round 1 on: leave it out, and give `refine.audit` "
            f"from which every round fits its own"
        )


def merges_of(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names of the merge stages."""
    return (name for name, options in stages.items() if options.get("use", name) == "merge")


def with_calibrations(stages: Stages, calibrations: Mapping[str, Path | None]) -> Stages:
    """Return the stages with the calibrations of merge stages filled in.

    A merge stage that has none, for want of an audit, goes by agreement.
    """
    filled = {name: dict(options) for name, options in stages.items()}
    for name, path in calibrations.items():
        filled[name] |= {"calibration": str(path)} if path else {"rule": "agreement"}
    return filled


@dataclass(frozen=True, kw_only=True)
class Level:
    """Merge stages that want a calibration, and the stages that are asked before it is fitted.

    `voters` are all that any merge stage listens to, directly or through others, and that build
    on no merge of this level or a later one: what can be said by then can be audited.
    """

    merges: tuple[str, ...]
    voters: frozenset[str]


def levels(graph: Graph) -> list[Level]:
    """Return the merge stages that want a calibration, after those that their voters build on.

    One that brings its own keeps it.
    """
    level: dict[str, int] = {}
    wanted: dict[int, list[str]] = {}
    for node in graph.specialists:
        is_wanting = (
            isinstance(node.stage, Merge)
            and node.stage.rule.needs_calibration
            and not node.stage.config.calibration
        )
        level[node.name] = max((level[name] for name in node.upstream), default=0) + is_wanting
        if is_wanting:
            wanted.setdefault(level[node.name], []).append(node.name)
    heard = _behind(graph, {name for merges in wanted.values() for name in merges})
    return [
        Level(
            merges=tuple(wanted[number]),
            voters=frozenset(name for name in heard if level[name] < number),
        )
        for number in sorted(wanted)
    ]


def _behind(graph: Graph, names: Collection[str]) -> set[str]:
    """Return the specialists that these read, directly or through others."""
    found: set[str] = set()
    for node in reversed(graph.specialists):
        if node.name in found or node.name in names:
            found.update(node.upstream)
    return found
