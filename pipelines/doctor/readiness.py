"""Whether a config can be built here, as far as that is known before an image is read."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, MissingPackage
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig
from florilegium.pipelines.doctor.finding import OK, PROBLEM, Finding, pip_line

TOPIC = "config"


def readiness(name: str, config: RunConfig) -> Iterator[Finding]:
    """Yield what stops a build of a config, or that nothing does. Modules that it names are not
    imported, and missing models are not reported here."""
    problems = [*_problems(config)]
    for problem in problems:
        text, _, cure = str(problem).partition("\n")
        if isinstance(problem, MissingPackage) and problem.install:
            cure = pip_line(problem)
            text = text.removesuffix(f": {cure}")
        yield Finding(topic=TOPIC, name=name, level=PROBLEM, text=text, cure=cure)
    if not problems:
        stages = counted(len(config.specialists) + len(config.filters), "stage")
        text = f"{stages}, whose packages and options are right"
        yield Finding(topic=TOPIC, name=name, level=OK, text=text)


def _problems(config: RunConfig) -> Iterator[FlorilegiumError]:
    try:
        run = prepare(config, is_dry=True, imports_modules=False)
    except FlorilegiumError as error:
        yield error
        return
    yield from {str(one): one for one in (*run.graph.absent, *run.graph.awaited)}.values()
    if run.problem:
        yield run.problem
