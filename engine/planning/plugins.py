"""Plugins: modules that a config names, `package.module:Class`, whose code runs when it is used.

What is installed is trusted, and found by its name. A folder is searched for modules only when a
config or a command asks for it, and never the one that somebody just stands in.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.judgement import SampleColumns, Statements, Verdicts
from florilegium.engine.core.stage import Filter, SampleFilter, Specialist, Stage, StageConfig
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.config import SECTIONS, RunConfig
from florilegium.engine.planning.registry import is_module
from florilegium.engine.untrusted.escaped import cut

ROOT = str(Path(__file__).parents[3])
"""The folder that this distribution lies in."""


def modules_of(
    config: RunConfig, *more: tuple[str, Mapping[str, Mapping[str, Any]]]
) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of all that names a module in a config.

    `more` are sections of stages that a run has beyond its own, each with its key.
    """
    sections = ((section, getattr(config, section)) for section in SECTIONS)
    for section, stages in (*sections, *more):
        for name, options in stages.items():
            if is_module(use := str(options.get("use", name))):
                yield f"{section}.{name}.use", use
    for source in config.source:
        if is_module(source.kind):
            yield "source.kind", source.kind


def refuse_plugins(config: RunConfig, modules: Iterable[tuple[str, str]]) -> None:
    """Refuse a config that would run code which is not installed.

    Raises:
        ConfigError: it names a module, or a folder to search.
    """
    cure = "--no-plugins allows what is installed only, by its name"
    for key, use in modules:
        raise ConfigError(f"{key} = {cut(use)} names a module: {cure}")
    if config.plugin_path:
        raise ConfigError(f"plugin_path = {cut(list(config.plugin_path))} is searched: {cure}")


def search_for_plugins(folders: Sequence[str]) -> None:
    """Let Python search folders for modules, after all that is installed.

    Raises:
        ConfigError: a folder is not there.
    """
    for folder in folders:
        path = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(path):
            raise ConfigError(f"plugin_path = {cut(folder)}: there is no such folder")
        if path not in sys.path:
            sys.path.append(path)
            importlib.invalidate_caches()


def searched() -> list[str]:
    """Return the folders that this process searches for modules, for workers to do the same."""
    return [path for path in sys.path if os.path.isabs(path)]


class _AnyOptions(StageConfig):
    """Options that are not checked."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _Unseen(Specialist[_AnyOptions]):
    """Stands in a plan that is only looked at for a specialist whose module is not imported."""

    Config = _AnyOptions
    produces = tuple(TASKS)

    def predict(self, samples: Sequence[Any]) -> list[Any]:
        raise NotImplementedError("a stage that was not imported is not asked")


class _UnseenFilter(Filter[_AnyOptions]):
    """The same for a filter."""

    Config = _AnyOptions

    def judge(self, statements: Statements) -> Verdicts:
        raise NotImplementedError("a stage that was not imported is not asked")


class _UnseenSampleFilter(SampleFilter[_AnyOptions]):
    """The same for a sample filter."""

    Config = _AnyOptions

    def judge(self, samples: SampleColumns) -> Verdicts:
        raise NotImplementedError("a stage that was not imported is not asked")


UNSEEN: Mapping[str, type[Stage[Any]]] = MappingProxyType(
    {stage.section: stage for stage in (_Unseen, _UnseenFilter, _UnseenSampleFilter)}
)
"""What stands in for a stage whose module is not imported, by the section of the config."""
