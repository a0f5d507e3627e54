"""The configs of the rounds: the stages of the run, the students, and the inputs of merge stages.

Pure functions on configs: no file is opened and nothing is run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.fingerprint import SAMPLE_SHARE
from florilegium.engine.planning.graph import Graph, Node
from florilegium.pipelines.merge.rules import AGREEMENT_RULE, find_rule
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.specialists.florence2.config import Florence2Config

ConfigT = TypeVar("ConfigT", bound=StageConfig)
Stages = dict[str, dict[str, Any]]
_OF_GRAPH = ("use", "reads", SAMPLE_SHARE)
"""Keys of a stage that the planner reads, not the stage."""


def round_config(
    config: RefineConfig, *, output: str, stages: Stages | None = None, has_filters: bool = True
) -> RunConfig:
    """Return the config of a round: the same source and layers, another output and other stages."""
    values = {name: getattr(config, name) for name in RunConfig.model_fields}
    values |= {"output": output, "layers": config.layers_url}
    values |= {} if stages is None else {"specialists": stages}
    values |= {} if has_filters else {"filters": {}}
    return RunConfig.model_construct(**values)


def with_students(
    config: RefineConfig,
    checkpoints: Sequence[str],
    number: int,
    *,
    fine_tuned: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Stages:
    """Return the stages of a round with trained checkpoints as students.

    Args:
        checkpoints: one for each fold.
        fine_tuned: those of the students that have their own, by name.

    Raises:
        ConfigError: a student has the name of a stage, or no merge stage takes its tasks.
    """
    stages = {name: dict(options) for name, options in config.specialists.items()}
    for name, options in config.refine.students.items():
        if name in stages:
            raise ConfigError(f"refine.students.{name}: a specialist has that name, rename one")
        student = {
            "use": "florence2",
            "reads": [],
            **options,
            "model": list(fine_tuned.get(name, checkpoints)),
            "round": number,
        }
        produced = _tasks_of(student, Florence2Config, where=f"refine.students.{name}")
        joined = [
            merge
            for merge in merges_of(stages)
            if produced & _tasks_of(stages[merge], MergeConfig, where=f"specialists.{merge}")
        ]
        if not joined:
            tasks = ", ".join(sorted(produced))
            raise ConfigError(
                f"refine.students.{name} produces {tasks}, which no merge stage takes: add a "
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
    return set(_options_of(options, model, where=where).tasks)


def _options_of(options: Mapping[str, Any], model: type[ConfigT], *, where: str) -> ConfigT:
    """Return the options of a stage without the keys that the planner reads."""
    own = {key: value for key, value in options.items() if key not in _OF_GRAPH}
    return validated(model, own, where=where)


def _refuse_calibration(merge: str, options: Mapping[str, Any]) -> None:
    if options.get("calibration"):
        raise ConfigError(
            f"specialists.{merge}.calibration = {options['calibration']!r} was made without the "
            f"students, which vote from round 1 on: leave it out, and set `refine.audit`, from "
            f"which every round fits its own"
        )


def without_audit(config: RefineConfig) -> RunConfig:
    """Return the run of round 0 in the output itself, merged by votes, as without an audit."""
    stages = {name: dict(options) for name, options in config.specialists.items()}
    for name in merges_of(stages):
        options = _options_of(stages[name], MergeConfig, where=f"specialists.{name}")
        if find_rule(options.rule).needs_calibration and not options.calibration:
            stages[name]["rule"] = AGREEMENT_RULE
    return round_config(config, output=config.output, stages=stages)


def merges_of(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names of the merge stages."""
    return (name for name, options in stages.items() if options.get("use", name) == "merge")


def with_calibrations(stages: Stages, calibrations: Mapping[str, Path | None]) -> Stages:
    """Return the stages with the calibrations of merge stages filled in.

    A merge stage without one, because there is no audit, gets the rule `agreement`.
    """
    filled = {name: dict(options) for name, options in stages.items()}
    for name, path in calibrations.items():
        filled[name] |= {"calibration": str(path)} if path else {"rule": AGREEMENT_RULE}
    return filled


def voters_of(merge: Node[Specialist[Any]]) -> tuple[str, ...]:
    """Return the voters that the calibration of a merge stage has to know.

    The source is one of them only where it does not come first.
    """
    is_outside = merge.stage.config.source_first
    return (*merge.upstream,) if is_outside else (*merge.upstream, SOURCE)


@dataclass(frozen=True, kw_only=True)
class Level:
    """Merge stages that need a calibration, and the stages that run before it is fitted.

    `voters` are all stages that any merge stage reads, directly or indirectly, and that depend on
    no merge of this level or a later one.
    """

    merges: tuple[str, ...]
    voters: frozenset[str]


def levels(graph: Graph) -> list[Level]:
    """Return the merge stages that need a calibration, in order of dependence.

    A merge stage whose options name a calibration keeps it.
    """
    level: dict[str, int] = {}
    wanted: dict[int, list[str]] = {}
    for node in graph.specialists:
        needs_one = (
            isinstance(node.stage, Merge)
            and node.stage.rule.needs_calibration
            and not node.stage.config.calibration
        )
        level[node.name] = max((level[name] for name in node.upstream), default=0) + needs_one
        if needs_one:
            wanted.setdefault(level[node.name], []).append(node.name)
    voters = _ancestors(graph, {name for merges in wanted.values() for name in merges})
    return [
        Level(
            merges=tuple(wanted[number]),
            voters=frozenset(name for name in voters if level[name] < number),
        )
        for number in sorted(wanted)
    ]


def _ancestors(graph: Graph, names: Collection[str]) -> set[str]:
    """Return the specialists that these stages read, directly or indirectly."""
    found: set[str] = set()
    for node in reversed(graph.specialists):
        if node.name in found or node.name in names:
            found.update(node.upstream)
    return found
