"""The contract of stages: all checks of a specialist, a filter or a sample filter, and what one
image costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Filter, SampleFilter, Specialist, Stage
from florilegium.testing import asking, declarations, judging, marks, sample_judging
from florilegium.testing.checks import Check, Checks, name_of
from florilegium.testing.faults import ContractBroken
from florilegium.testing.subject import Subject

StageCheck = Check[Subject]

DECLARING: tuple[StageCheck, ...] = (
    declarations.found_by_its_name,
    declarations.describes_itself,
    declarations.options_are_sound,
    declarations.declares_known_tasks,
    declarations.names_its_content,
    declarations.can_be_loaded,
)
"""Checks of every stage; the last one tells whether others make sense."""
ASKING: tuple[StageCheck, ...] = (
    asking.names_its_model_before_loading,
    asking.answers_nothing_about_nothing,
    asking.answers_each_sample,
    asking.changes_nothing,
    asking.answers_the_same_again,
    asking.does_not_depend_on_the_batch,
    asking.survives_a_broken_image,
    asking.reads_what_it_declares,
    asking.answers_about_each_alone,
    asking.works_in_a_worker,
    marks.keeps_its_answers,
)
"""Checks of specialists, and of filters that measure."""
JUDGING: tuple[StageCheck, ...] = (
    judging.judges_validly,
    judging.judges_without_changes,
    judging.judges_each_sample_alone,
    judging.judges_by_what_it_declares,
    judging.judges_by_what_it_reads,
    marks.keeps_its_verdicts,
)
"""Checks of filters."""
DROPPING: tuple[StageCheck, ...] = (
    sample_judging.drops_validly,
    sample_judging.drops_without_changes,
    sample_judging.drops_each_sample_alone,
    sample_judging.compares_in_order,
    marks.keeps_its_verdicts,
)
"""Checks of sample filters."""

REQUIRED: Mapping[StageCheck, tuple[StageCheck, ...]] = {
    **dict.fromkeys((*ASKING, *JUDGING, *DROPPING), (declarations.can_be_loaded,)),
    asking.does_not_depend_on_the_batch: (asking.answers_the_same_again,),
    asking.survives_a_broken_image: (asking.answers_the_same_again,),
    asking.works_in_a_worker: (declarations.found_by_its_name, asking.answers_the_same_again),
    marks.keeps_its_answers: (asking.answers_the_same_again, asking.answers_each_sample),
    **dict.fromkeys(JUDGING[1:-1], JUDGING[:1]),
    **dict.fromkeys(DROPPING[1:-1], DROPPING[:1]),
}
"""For checks that make no sense unless others have found nothing: which these are."""


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What `check_stage` did and what it measured.

    `idle` has those of the `checks` that had nothing to compare: a single sample shows no
    dependence on others. `rows` counts the annotations or measurements that the stage answered
    with: a test that wants the stage to find something asserts it; `judged` counts the annotations
    on which a filter gave a verdict, or the samples of a sample filter. `unchecked` has the options
    marked THRESHOLD or RUNTIME of which no other value could be tried, as of a text that names a
    folder: their marks may be wrong.
    `load_s` are the seconds of loading, `image_s` those of one image, in a batch, when everything
    is warm; `peak_mb` is the most memory of a process with this stage alone, in MiB. They are 0 for
    a filter that measures nothing.
    """

    checks: tuple[str, ...]
    idle: tuple[str, ...]
    samples: int
    rows: int = 0
    judged: int = 0
    unchecked: tuple[str, ...] = ()
    load_s: float = 0.0
    image_s: float = 0.0
    peak_mb: float = 0.0


def check_stage(
    stage_class: type[Stage[Any]],
    *,
    options: Mapping[str, Any] | None = None,
    samples: Sequence[Sample] | None = None,
    fixed: Collection[str] = (),
) -> StageReport:
    """Check that a stage of any kind keeps its contract, and return what it costs.

    Args:
        stage_class: a subclass of `Specialist`, `Filter` or `SampleFilter`.
        options: of its `Config`, as in a config file: a tiny checkpoint, for instance.
        samples: what it is asked about, with annotations of any task; by default `samples()`.
        fixed: options that keep their values, where the check of marks would try others: one that
            needs another machine, or takes minutes.

    Raises:
        ContractBroken: an AssertionError with one sentence for each fault, and its cure.
    """
    kinds = (Specialist, Filter, SampleFilter)
    if not (isinstance(stage_class, type) and issubclass(stage_class, kinds)):
        cure = "derive a class from Specialist, Filter or SampleFilter"
        raise ContractBroken(f"{stage_class!r}", [f"it is no stage: {cure}"])
    if samples is not None and not samples:
        raise ContractBroken(name_of(stage_class), ["it is asked about no sample: give `samples`"])
    checks = stage_checks(Subject(stage_class, options=options, samples=samples, fixed=fixed))
    checks.raise_faults(name_of(stage_class))
    return _report(checks.subject, checks.every)


def stage_checks(subject: Subject) -> Checks[Subject]:
    """Return the checks that a stage has to pass, in their order."""
    asking_ = ASKING if subject.is_asked else ()
    judging_ = JUDGING if issubclass(subject.stage_class, Filter) else ()
    if issubclass(subject.stage_class, SampleFilter):
        judging_ = DROPPING
    return Checks(subject, (*DECLARING, *asking_, *judging_), REQUIRED)


def _report(subject: Subject, checks: Sequence[StageCheck]) -> StageReport:
    names = tuple(check.__name__ for check in checks)
    count = len(subject.samples)
    judged = judging.count_of(subject) if issubclass(subject.stage_class, Filter) else 0
    if issubclass(subject.stage_class, SampleFilter):
        judged = count
    unchecked = tuple(sorted(subject.unchecked))
    idle = _idle(subject, checks)
    if not subject.is_asked:
        return StageReport(
            checks=names, idle=idle, samples=count, judged=judged, unchecked=unchecked
        )
    reply, asked = subject.in_worker
    return StageReport(
        checks=names,
        idle=idle,
        samples=count,
        rows=sum(len(one) for one in subject.together if not isinstance(one, SampleError)),
        judged=judged,
        unchecked=unchecked,
        load_s=reply.load_s,
        image_s=reply.call_s / max(len(asked), 1),
        peak_mb=reply.peak_mb,
    )


def _idle(subject: Subject, checks: Sequence[StageCheck]) -> tuple[str, ...]:
    """Return the names of checks that compare samples, where there are not two."""
    few: set[StageCheck] = set()
    if subject.is_asked and len(subject.answered) < 2:
        few |= {asking.does_not_depend_on_the_batch, asking.survives_a_broken_image}
    if len(subject.samples) < 2:
        few.add(judging.judges_each_sample_alone)
    return tuple(check.__name__ for check in checks if check in few)
