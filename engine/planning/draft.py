"""Drafts: the stages of a config with their options checked, before the graph has its edges.

Names become classes, options configs, tasks edges. Nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import (
    ConfigError,
    FlorilegiumError,
    MissingModel,
    MissingPackage,
    PlanError,
    nearest,
)
from florilegium.engine.core.stage import Specialist, Stage
from florilegium.engine.core.tasks import TABLE, TASKS
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.fingerprint import SAMPLE_SHARE, unnamed_content
from florilegium.engine.planning.plugins import UNSEEN
from florilegium.engine.planning.registry import absent_packages, find_stage, is_module
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.untrusted.escaped import cut
from florilegium.engine.untrusted.traces import unforeseen


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A stage whose options are checked but whose edges in the graph are not known yet.

    `reads` are the stages that the config names as those to read.
    """

    name: str
    use: str
    stage: Stage[Any]
    reads: tuple[str, ...] | None
    is_unseen: bool
    sample_share: float


def draft_of(section: str, name: str, options: Mapping[str, Any], *, imports: bool) -> Draft:
    """Check the options of a stage; without `imports`, one of a module is not looked at.

    Raises:
        PlanError: an unknown stage, one of the other section, or a name that is taken.
        ConfigError: an option is wrong.
    """
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
    share = _share(own.pop(SAMPLE_SHARE, 1.0), where=f"{section}.{name}", section=section)
    is_unseen = is_module(use) and not imports
    stage_class: type[Stage[Any]] = UNSEEN[section] if is_unseen else find_stage(use)
    if stage_class.section != section:
        raise PlanError(f"{section}.{name}: {use!r} belongs under `{stage_class.section}`")
    stage_config = validated(stage_class.Config, own, where=f"{section}.{name}")
    try:
        stage = stage_class(stage_config)
    except FlorilegiumError:
        raise
    except Exception as error:  # of any kind, from code of a plugin
        raise PlanError(
            f"{section}.{name}: the stage cannot be made: {unforeseen(error)}"
        ) from error
    _refuse_unknown_tasks(stage, where=f"{section}.{name}")
    return Draft(
        name=name,
        use=use,
        stage=stage,
        reads=None if reads is None or is_unseen else tuple(reads),
        is_unseen=is_unseen,
        sample_share=share,
    )


def _refuse_unknown_tasks(stage: Stage[Any], *, where: str) -> None:
    """Refuse a stage that produces what is no task: its answers would be refused, one by one."""
    for task in stage.produces:
        if task not in TABLE:
            raise PlanError(
                f"{where}: the stage produces {cut(task)}, which is no task; "
                f"{nearest(task, TABLE)}; a new task is an entry point of florilegium.tasks"
            )


def _share(value: Any, *, where: str, section: str) -> float:
    """Return the share of the samples that a stage is asked about.

    Raises:
        ConfigError: it is no number above 0 and up to 1, or the stage is a filter, whose missing
            measurements would let everything pass.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < float(value) <= 1:
        raise ConfigError(
            f"{where}: {SAMPLE_SHARE} = {cut(value)}: give the share of the images that the stage "
            f"is asked about, above 0 and up to 1; `null` for the stage switches it off"
        )
    if section != Specialist.section and value != 1:
        raise ConfigError(
            f"{where}: a filter judges all samples; {SAMPLE_SHARE} belongs to specialists"
        )
    return float(value)


def upstream_of(
    draft: Draft, specialists: Mapping[str, Draft], source_tasks: frozenset[str]
) -> dict[str, frozenset[str]]:
    """Return the specialists that a stage reads, in config order, each with the tasks it reads."""
    others = {name: other for name, other in specialists.items() if name != draft.name}
    if draft.reads is not None:
        _check_reads(draft, others)
        others = {name: other for name, other in others.items() if name in draft.reads}
    else:  # what those produce that were not imported is unknown
        others = {name: one for name, one in others.items() if not one.stage.is_of_people}
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


def _check_reads(draft: Draft, others: Mapping[str, Draft]) -> None:
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


def check_required(draft: Draft, specialists: Mapping[str, Draft]) -> None:
    """Refuse options that name a specialist which is not there, or produces other tasks, and a
    stage that answers about annotations that it does not read."""
    if unread := sorted(set(draft.stage.each) - draft.stage.read_tasks):
        raise PlanError(
            f"stage {draft.name!r} answers about {', '.join(unread)} one by one (`each`), but does "
            f"not read it: name it in `reads` of its class"
        )
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


def _produces(draft: Draft) -> frozenset[str]:
    return frozenset(draft.stage.produces)


def revisions_of(
    stages: Mapping[str, Stage[Any]],
) -> tuple[dict[str, str], dict[str, MissingModel], list[MissingPackage]]:
    """Return what names the model of each stage, the stages whose models are not here, and packages
    that are not installed."""
    revisions: dict[str, str] = {}
    missing: dict[str, MissingModel] = {}
    absent: list[MissingPackage] = []
    for name, stage in stages.items():
        revisions[name] = ""
        absent += (found := absent_packages(name, stage))
        try:
            revisions[name] = stage.revision()
            _refuse_unnamed(name, unnamed_content(stage, revisions[name]))
        except MissingModel as error:
            missing[name] = error
        except MissingPackage as error:
            absent.append(error)
        except FlorilegiumError:
            raise
        except Exception as error:  # of any kind, from code of a plugin
            is_of_package = isinstance(error, ImportError)  # what tells a version raises it, too
            if not (is_of_package and found):
                raise PlanError(
                    f"the revision of stage {name!r} cannot be read: {unforeseen(error)}"
                ) from error
    return revisions, missing, absent


def _refuse_unnamed(stage: str, options: Sequence[str]) -> None:
    """Refuse a stage of which other content would be taken for the same."""
    if options:
        raise PlanError(
            f"stage {stage!r}: its option {options[0]!r} is marked CONTENT, and its revision() "
            "names no content: answers would stay when the content changes. Return a digest of it "
            "in revision(), or take the mark away"
        )


def all_of(missing: Mapping[str, MissingModel]) -> MissingModel:
    """Return one error for all models that are not here, so that they are fetched in one go."""
    if len(missing) == 1:
        return next(iter(missing.values()))
    commands = dict.fromkeys(one for error in missing.values() for one in error.commands)
    return MissingModel(
        f"the models of {', '.join(missing)} are not in the local cache of the hub; fetch them, "
        "gated ones after `hf auth login`:",
        *commands,
        packages=[package for error in missing.values() for package in error.packages],
    )
