"""Whether a config can be built here, as far as that is known before an image is read."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, MissingPackage
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import SECTIONS, RunConfig
from florilegium.engine.planning.graph import plan
from florilegium.engine.planning.plugins import modules_of
from florilegium.engine.planning.registry import source_names
from florilegium.pipelines.doctor.finding import OK, PROBLEM, WARNING, Finding, pip_line

TOPIC = "config"
_SOURCE = "source.kind"
_HERE = ("file", "local", "package")
"""Schemes of URLs on this machine, beyond the kinds of sources that are installed."""


def readiness(name: str, config: RunConfig, *, is_online: bool = False) -> Iterator[Finding]:
    """Yield what stops a build of a config, or that nothing does. Modules that it names are not
    imported, missing models are not reported here, and without `is_online` no other machine is
    asked for images."""
    yield from _unchecked(config, is_online=is_online)
    problems = [*_problems(config, is_online=is_online)]
    for problem in problems:
        text, _, cure = str(problem).partition("\n")
        if isinstance(problem, MissingPackage) and problem.install:
            cure = pip_line(problem)
            text = text.removesuffix(f": {cure}")
        yield Finding(topic=TOPIC, name=name, level=PROBLEM, text=text, cure=cure)
    if not problems:
        unseen = sum(key != _SOURCE for key, _ in modules_of(config))
        stages = counted(sum(len(getattr(config, one)) for one in SECTIONS) - unseen, "stage")
        text = f"{stages}, whose packages and options are right"
        yield Finding(topic=TOPIC, name=name, level=OK, text=text)


def _unchecked(config: RunConfig, *, is_online: bool) -> Iterator[Finding]:
    """Yield what only a build can tell, each as a warning."""
    for key, use in modules_of(config):
        cure = "`florilegium try` imports a stage and asks it about an image"
        text = f"{use}: not imported, not checked"
        yield Finding(topic=TOPIC, name=key, level=WARNING, text=text, cure=cure)
    for url in [] if is_online else _remote(config):
        text = f"{url} is on another machine: not asked, not checked"
        yield Finding(topic=TOPIC, name="source", level=WARNING, text=text, cure="add --online")


def _remote(config: RunConfig) -> list[str]:
    """Return the sources on other machines."""
    urls = [(one.url, one.url.partition("://")) for one in config.source]
    here = {*_HERE, *source_names()}
    return [url for url, (scheme, separator, _) in urls if separator and scheme not in here]


def _problems(config: RunConfig, *, is_online: bool) -> Iterator[FlorilegiumError]:
    try:
        if not is_online and _remote(config):
            graph = plan(config, source_tasks=TASKS, is_dry=True, imports_modules=False)
            problem = None
        else:
            run = prepare(config, is_dry=True, imports_modules=False)
            graph, problem = run.graph, run.problem
    except FlorilegiumError as error:
        yield error
        return
    yield from {str(one): one for one in (*graph.absent, *graph.awaited)}.values()
    if problem and not any(key == _SOURCE for key, _ in modules_of(config)):
        yield problem
