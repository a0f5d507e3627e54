"""Reading what a command is to do: its config, with what the command line says laid over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.engine.planning.plugins import modules_of, refuse_plugins
from florilegium.pipelines.commands.options import given
from florilegium.pipelines.commands.shipped import config_path
from florilegium.pipelines.corrections.run import with_corrections
from florilegium.pipelines.refresh.options import RefreshOptions, load_run


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A config as it was written, options and plan included, and as it was understood.

    `config` is a `RefineConfig` where the document has `refine`; of any other, `refresh` is the
    section of that name.
    """

    document: dict[str, Any]
    config: RunConfig
    refresh: RefreshOptions

    @property
    def run(self) -> RunConfig:
        """The config as one run: of a refinement, its round 0."""
        from florilegium.pipelines.refine.config import RefineConfig
        from florilegium.pipelines.refine.stages import without_audit

        config = self.config
        return without_audit(config) if isinstance(config, RefineConfig) else config


def load(
    given_config: Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] | None,
    no_plugins: bool,
    plan_file: Path | None = None,
    is_refined: bool = False,
    runner: str | None = None,
    **options: str | float | list[str] | None,
) -> Loaded:
    """Read a config: a file, a shipped one by its name, or its keys. `options` are top-level keys
    that the command line may set, and `runner` is the kind of runner; `None` sets none. With
    `is_refined`, the config must have `refine`.

    Raises:
        ConfigError: the config cannot be read or has mistakes, or names modules that `no_plugins`
            does not allow.
    """
    from florilegium.pipelines.refine.config import RefineConfig

    changes = given(**options)
    overrides = [*(overrides or []), *([f"runner.kind={runner}"] if runner else [])]
    if isinstance(given_config, Mapping):
        path, where, changes = None, "config", deepcopy({**given_config, **changes})
    else:
        path, where = config_path(given_config), str(given_config)
    document = load_document(path, changes=changes, overrides=overrides, plan=plan_file)
    if is_refined and "refine" not in document:
        raise ConfigError(f"{where}: the key 'refine' is missing; `florilegium build` needs none")
    config, refresh = (
        (validated(RefineConfig, document, where=where), RefreshOptions())
        if "refine" in document
        else load_run(document, where=where)
    )
    config = with_corrections(config)
    if no_plugins:
        students = config.refine.students if isinstance(config, RefineConfig) else {}
        refuse_plugins(config, modules_of(config, ("refine.students", students)))
    return Loaded(document=document, config=config, refresh=refresh)
