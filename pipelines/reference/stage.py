"""A stage as its class describes it: what it reads and produces, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from florilegium.engine.core.errors import MissingPackage
from florilegium.engine.core.stage import Filter, Input, SampleFilter, Stage
from florilegium.engine.planning.registry import absent_packages, find_stage, require_packages
from florilegium.pipelines.reference.options import options_of
from florilegium.pipelines.reference.plugin import (
    Plugin,
    doc_of,
    name_of,
    nested,
    path_of,
    values_of,
)

INSTALLED = "installed"


def stage(use: str) -> Plugin:
    """Describe a stage, by its name or as `package.module:Class`.

    Raises:
        PlanError: there is no such stage.
    """
    stage_class = find_stage(use)
    options = options_of(stage_class.Config, is_asked=is_asked(stage_class))
    name = name_of(use)
    own = [*([("use", use)] if name != use else []), *values_of(stage_class.Config, options)]
    return Plugin(
        name=name,
        use=use,
        path=path_of(stage_class),
        doc=doc_of(stage_class),
        facts={key: lines for key, lines in _stage_facts(name, stage_class) if lines},
        config=stage_class.Config,
        options=options,
        stanza=nested([stage_class.section, name], own),
    )


def _stage_facts(name: str, stage_class: type[Stage[Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    result = made(stage_class)
    found = None if isinstance(result, str) else result
    yield "kind", (kind_of(stage_class),)
    yield "version", (str(stage_class.version),)
    reads = stage_class.reads or (found.reads if found else ())
    yield "reads", tuple(_inputs(reads)) or ("the image alone",)
    yield "produces", stage_class.produces or (found.produces if found else ())
    yield "answers one by one about", stage_class.each or (found.each if found else ())
    if issubclass(stage_class, Filter):
        yield "measures", stage_class.measured
        yield "a verdict depends on", (_JUDGES_BY[stage_class.judges_by],)
    if issubclass(stage_class, SampleFilter):
        yield "measures", (*stage_class.measured, *stage_class.measured_texts)
        compared = (*stage_class.compared, *stage_class.compared_texts)
        yield "compares the samples of a run, to find", compared
    if family := getattr(stage_class, "family", None):
        yield "model", (f"{family.title}, such as {family.example}",)
        yield "model types", family.model_types
    yield "packages", tuple(_packages(name, stage_class, found))
    if isinstance(result, str):
        yield "defaults", (f"it cannot be made with them: {result}",)


_JUDGES_BY = {
    "annotation": "the annotation alone: it can judge before other stages are asked",
    "task": "the annotations of its task in the image: it can judge before other stages are asked",
    "image": "all annotations of the image: it judges after all stages",
}


def kind_of(stage_class: type[Stage[Any]]) -> str:
    """Return what a stage is: `specialist`, `filter` or `sample filter`."""
    return stage_class.section.removesuffix("s").replace("_", " ")


def is_asked(stage_class: type[Stage[Any]]) -> bool:
    """Whether stages of a class are asked about samples: all but filters that measure nothing."""
    if issubclass(stage_class, SampleFilter):
        return bool(stage_class.measured or stage_class.measured_texts)
    return not issubclass(stage_class, Filter) or bool(stage_class.measured)


def _inputs(reads: Iterable[Input]) -> Iterator[str]:
    """Yield a line for each input that is needed, and one for all that are read where they are."""
    for wanted in reads:
        if not wanted.optional:
            *most, last = wanted.tasks
            yield f"{', '.join(most)} or {last}" if most else last
    maybe = [task for wanted in reads if wanted.optional for task in wanted.tasks]
    if maybe:
        yield f"where a stage produces it: {', '.join(maybe)}"


def made(stage_class: type[Stage[Any]]) -> Stage[Any] | str:
    """Return the stage with the defaults of its options, or why it cannot be made with them."""
    try:
        return stage_class(stage_class.Config())
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong)
    except Exception as error:  # a plugin may raise anything
        return str(error) or repr(error)


def _packages(name: str, stage_class: type[Stage[Any]], found: Stage[Any] | None) -> Iterator[str]:
    """Yield what the stage needs beyond the base installation, and what of that is missing."""
    if found:
        absent = [str(one) for one in absent_packages(name, found)]
    else:
        absent = list(_absent(name, stage_class))
    if stage_class.extra or stage_class.needs:
        bundle = f"extra `{stage_class.extra}`" if stage_class.extra else ""
        packages = ", ".join(stage_class.needs)
        state = [] if absent else [INSTALLED]
        yield ": ".join(filter(None, [bundle, packages, *state]))
    yield from absent
    family = getattr(stage_class, "family", None)
    if family is not None and family.needs_torchvision:
        yield f"extra `torchvision` for models of type {', '.join(family.needs_torchvision)}"


def _absent(name: str, stage_class: type[Stage[Any]]) -> Iterator[str]:
    try:
        require_packages(name, stage_class)
    except MissingPackage as error:
        yield str(error)
