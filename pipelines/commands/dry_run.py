"""What a dry run prints after the plan: what stages leave out, missing models, problems."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.errors import MissingPackage, UsageError
from florilegium.engine.execution.preparation import Run
from florilegium.pipelines.commands.services import service_lines, share_lines
from florilegium.specialists.pretrained.hub import download_lines


def dry_run_lines(run: Run) -> Iterator[str]:
    """Yield the caveats and omissions of a run's stages, and the models and packages that are still
    missing."""
    for node in run.graph.nodes:
        if node.is_unseen:
            yield (
                f"{node.name} is {node.use}, a module, which a dry run does not import: its "
                f"inputs, outputs and options were not checked"
            )
        if caveat := node.stage.caveat():
            yield f"{node.name} has {caveat}"
        yield from (f"{node.name}: {line}" for line in node.stage.omissions())
    yield from share_lines(run)
    yield from service_lines(run)
    if run.graph.missing:
        yield from download_lines(run.graph.missing)
    if not run.graph.absent:  # else one error names all packages
        yield from dict.fromkeys(f"not here yet: {package}" for package in run.graph.awaited)


def refuse_problems(run: Run) -> None:
    """Refuse a run that could not start, with all its problems in one error. Missing models are no
    problem here: `dry_run_lines` lists them.

    Raises:
        MissingPackage: packages are missing, and nothing else is wrong.
        UsageError: the source cannot be read, or that and more.
    """
    problems: list[UsageError] = [run.problem] if run.problem else []
    if run.graph.absent:
        problems.insert(0, MissingPackage.all_of([*run.graph.absent, *run.graph.awaited]))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UsageError("\n".join(map(str, problems)))
