"""The models that configs name: those that are here with their size, those to be fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import MissingModel, MissingPackage, UsageError
from florilegium.engine.core.stage import Stage
from florilegium.engine.planning.config import SECTIONS
from florilegium.engine.planning.draft import draft_of
from florilegium.pipelines.doctor.finding import (
    ABSENT,
    OK,
    PROBLEM,
    WARNING,
    Finding,
    Level,
    pip_line,
)
from florilegium.specialists.pretrained.hub import size_text
from florilegium.specialists.pretrained.stage import HasCheckpoints

TOPIC = "models"


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A stage with checkpoints, and the names of the configs that have such a one."""

    stage: Stage[Any]
    configs: dict[str, None] = field(default_factory=dict)


def model_findings(
    documents: Mapping[str, Mapping[str, Any]], *, is_wanted: bool, is_online: bool
) -> Iterator[Finding]:
    """Yield the models of the stages of configs, which are given by name.

    Where they are wanted, a missing one is a problem with its command; otherwise missing ones are
    counted by config. With `is_online`, the hub is asked for sizes of those that are wanted.
    """
    models: dict[tuple[str, str], _Model] = {}
    for config, document in documents.items():
        for stage in stages_with_checkpoints(document):
            key = (stage.model, getattr(stage.config, "revision", ""))
            models.setdefault(key, _Model(stage=stage)).configs[config] = None
    absent: dict[str, dict[str, None]] = {}
    for model in models.values():
        commands = () if is_wanted else _commands(model.stage)
        for config in model.configs:
            absent.setdefault(config, {}).update(dict.fromkeys(commands))
        if not commands:
            readers = f"for {', '.join(model.configs)}"
            yield _looked_at(model.stage, readers, PROBLEM if is_wanted else ABSENT, is_online)
    for config, missing in absent.items():
        if missing:
            text = (
                f"{counted(len(missing), 'model')} absent; `florilegium doctor --config {config}` "
                f"lists {'it' if len(missing) == 1 else 'them'}"
            )
            yield Finding(topic=TOPIC, name=config, level=ABSENT, text=text)


def _commands(stage: Stage[Any]) -> tuple[str, ...]:
    """Return the commands that fetch the models of a stage which are not here."""
    assert isinstance(stage, HasCheckpoints), "the caller has looked"
    try:
        stage.checkpoints()
    except MissingModel as error:
        return error.commands
    except UsageError:
        return ()
    return ()


def stages_with_checkpoints(document: Mapping[str, Any]) -> Iterator[Stage[Any]]:
    """Yield the stages of a config that load checkpoints. Those with mistakes are left to the check
    of the config; modules are not imported."""
    for section in SECTIONS:
        for name, options in (document.get(section) or {}).items():
            try:
                draft = draft_of(section, name, options or {}, imports=False)
            except UsageError:
                continue
            if isinstance(draft.stage, HasCheckpoints):
                yield draft.stage


def _looked_at(stage: Stage[Any], readers: str, missing: Level, is_online: bool) -> Finding:
    level: Level = OK
    cure = ""
    assert isinstance(stage, HasCheckpoints), "the caller has looked"
    try:
        size = sum(_bytes_in(checkpoint.folder) for checkpoint in stage.checkpoints())
        text = f"{decimal(size)}, {readers}"
    except MissingModel as error:
        level, cure = missing, "\n".join(error.commands)
        sizes = f" ({', '.join(map(size_text, error.commands))})" if is_online else ""
        text = f"not in the cache{sizes}, {readers}"
    except MissingPackage as error:
        level, cure = missing, pip_line(error)
        text = f"{str(error).removesuffix(f': {cure}')}, {readers}"
    except UsageError as error:
        level, cure = missing if missing == PROBLEM else WARNING, ""
        text = f"{error}, {readers}"
    return Finding(topic=TOPIC, name=stage.model, level=level, text=text, cure=cure)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
