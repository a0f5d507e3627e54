"""The contract kit finds nothing in sound stages, and names what is wrong with broken ones."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.testing import ContractBroken, check_stage, sample
from florilegium.testing.checks import naming_faults
from tests.stages import BrightEnough, Brightest, Describe
from tests.testing import broken_stages
from tests.testing.broken_stages import (
    MarkedSpecialist,
    RoundsBoxes,
    RuntimeInPredict,
    Sound,
    SoundFilter,
    SoundMeasure,
)

FAULTS = {
    "NotFrozen": "Open is not frozen",
    "UnknownKeys": "Lax accepts unknown keys",
    "NestedUnknownKeys": "Lenient, which is part of NestedConfig, accepts unknown keys",
    "UndocumentedOption": "the option Undocumented.limit is not documented",
    "NoDocstring": "it has no docstring",
    "TextVersion": "its version is '1.0': give an integer",
    "UnknownTask": "`produces` has 'objct_detection', which is no task: did you mean",
    "Unlisted": "it declares no task in `produces`",
    "Unloadable": "it cannot be loaded: the weights are not there: fetch them first",
    "FailsToLoad": "self.scale = 1 / len(self.produces[1:])",
    "StacksNothing": "asked about no sample it raises ValueError: need at least one array",
    "StacksPixels": "asked about 8 samples at once it raises ValueError: all input arrays must",
    "FewAnswers": "0 answers to 1 sample",
    "ForgetsTheLast": "asked about 8 samples at once it gives 7 answers: give one for each",
    "AnswersTwice": "asked about 8 samples at once it gives 9 answers",
    "UnnamedWeights": "its option 'weights' is marked CONTENT, and its revision() names no content",
    "ThinImages": "modulo by zero, on sample 'one_pixel_wide' of 1x40 pixels\n",
    "Outside": "(7 more of this kind): (0.0, 0.0, 146.0, 64.0) in 96x64 pixels; clip it",
    "NoBox": "an object_detection needs `box_xyxy`; it has only `label`",
    "BadScore": "object_detection: a score of",
    "OtherTask": "caption: the stage declares only tag",
    "NoParent": "tag: a parent 'caption' that it neither read nor predicted",
    "LongSpan": "of its parent (6 more of this kind): (0, 60) of 56 characters",
    "Refuses": "it answers no sample: an image of tone",
    "WritesPixels": "it writes into the pixels of an image (7 more of this kind): copy them first",
    "UnlocksPixels": "it changes the pixels of an image",
    "ChangesConfig": "it changes its config",
    "ChangesAnnotations": "it changes the annotations of a sample",
    "Counts": "asked twice it gives two answers",
    "OfTheProcess": "it answers otherwise in another process",
    "RefusesTiny": "its answer depends on the other samples of the batch (sample 'wide': tag.label",
    "RefusesTinyByChance": "asked twice it gives two answers (sample 'wide': tag.label",
    "KeepsAnswers": "its answer depends on the other samples of the batch",
    "PrintsSecret": "it cannot be loaded: it raises ValueError: refused: api_key=",
    "UnreadWords": "revision() does not look at 'words', which is marked CONTENT",
    "WritesLabels": "`judge` writes into `statements.texts('label')`",
    "Batchwise": "its answer depends on the other samples of the batch",
    "SwallowsErrors": "it answers a broken image as if it saw one",
    "HidesErrors": "the error of a broken image does not come through: ValueError: no pixels",
    "ReadsMore": "it asks for annotations of 'caption', which it does not declare",
    "ReadsNeighbours": "it declares `each`, but its answer about one annotation depends on others",
    "KeepsLambda": "it cannot be pickled for a worker",
    "KeepsLock": "it cannot be pickled for a worker (TypeError: cannot pickle '_thread.lock'",
    "EndsItsProcess": "its worker process ended with exit code 7",
    "LateRevision": "its model and revision are ('', '') before `load` and ('', 'abc') after it",
    "ReadsNothing": "it reads no task, so it judges nothing",
    "UnusedMeasure": "it has a `measure` that is never called",
    "UndeclaredNumber": "undeclared measurement 'height'",
    "InfiniteNumber": "width is inf; leave out what cannot be measured",
    "StrangeNumber": "what is no annotation that it was shown (13 more of this kind): 'circle'",
    "NeedsLoading": "AttributeError: 'NeedsLoading' object has no attribute 'limit'",
    "JudgesOthers": "it judges 'dense_region_caption', which is not among its tasks",
    "LongReason": "it drops for the reason 'The score is low!'",
    "NoVerdicts": "`judge` must return Verdicts(len(statements))",
    "WritesScores": "`judge` writes into `statements.score`",
    "ComparesSamples": "its verdict on a sample depends on the samples beside it",
    "ComparesRows": "it declares judges_by = 'annotation', but its verdict depends on more",
    "ComparesTasks": "its verdict depends on annotations of tasks that it does not declare",
    "ThresholdInMeasure": "`measure` answers differently with least_width=0.0 (sample 'one_pixel_",
    "ThresholdInInit": "`measure` answers differently with least_width=0",
    "ThresholdByTask": "with least={'earlier': 1.0, 'object_detection': 1.0} (sample 'wide': the",
    "RuntimeInMeasure": "`measure` answers differently with is_fast=True (sample 'wide': ",
    "RuntimeInJudge": "`judge` judges differently with is_fast=True (",
    "RuntimeInPredict": "`predict` answers differently with tile=1 (sample 'wide': tag.label",
    "ThresholdInPredict": "`predict` answers differently with least_width=0",
    "RuntimeInScore": "`predict` answers differently with is_fast=True (sample 'wide': object_det",
    "RuntimeInJudgeOnly": "`judge` judges differently with tile=1 (not judged, then dropped",
    "Hidden": "does not lead to the class",
}


@pytest.mark.parametrize(
    "stage_class",
    [
        *(Brightest, Describe, BrightEnough),
        broken_stages.MissingWords,
        *(Sound, SoundFilter, SoundMeasure, MarkedSpecialist, RoundsBoxes),
    ],
)
def test_a_sound_stage_passes(stage_class: Any) -> None:
    check_stage(stage_class)


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_stage_is_told_what_is_wrong_with_it_and_nothing_else(name: str) -> None:
    with pytest.raises(ContractBroken) as raised:
        check_stage(getattr(broken_stages, name))
    assert len(raised.value.faults) == 1, str(raised.value)
    assert FAULTS[name] in raised.value.faults[0]


def test_a_stage_with_many_faults_is_told_all_of_them() -> None:
    class Many(broken_stages.UndocumentedOption):
        version = 0

    with pytest.raises(ContractBroken) as raised:
        check_stage(Many)
    text = str(raised.value)
    assert text.startswith("tests.testing.test_check_stage:test_a_stage_with_many_faults")
    assert "breaks its contract in 4 ways" in text.splitlines()[0]
    for fault in raised.value.faults:
        assert f"\n  - {fault}" in text


def test_a_class_of_the_program_itself_has_to_move() -> None:
    class Own(Sound):
        """Is written in a script."""

    Own.__module__, Own.__qualname__ = "__main__", "Own"
    (fault, *_) = naming_faults(Own)
    assert fault == (
        "'__main__:Own' is of the program itself, so no config and no worker finds it: put it in a "
        "module and import it"
    )


def test_the_cost_of_a_stage_is_measured() -> None:
    report = check_stage(Brightest)
    assert (report.samples, report.rows) == (8, 8)
    assert report.image_s > 0
    assert 10 < report.peak_mb < 1000
    assert "works_in_a_worker" in report.checks


def test_an_option_of_which_no_other_value_is_tried_is_named() -> None:
    assert check_stage(broken_stages.Folders).unchecked == ("folder", "only")
    assert check_stage(broken_stages.Marks).unchecked == ()


def test_a_fixed_option_keeps_its_value_and_is_named() -> None:
    report = check_stage(RuntimeInPredict, fixed=["tile"])
    assert report.unchecked == ("tile",)


def test_a_value_with_which_a_stage_cannot_be_loaded_is_no_fault() -> None:
    assert check_stage(broken_stages.OneDevice).unchecked == ("device",)


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(ContractBroken, match="derive a class from Specialist, Filter or"):
        check_stage(dict)  # type: ignore[arg-type]


def test_a_worker_has_the_environment_of_this_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    check_stage(Sound)  # the process from which workers are forked is there
    monkeypatch.setenv("FLORILEGIUM_TEST_WORD", "yes")
    assert check_stage(broken_stages.Keyed).rows == 8


def test_a_secret_in_an_error_is_masked() -> None:
    with pytest.raises(ContractBroken) as raised:
        check_stage(broken_stages.PrintsSecret)
    assert "sk-abcdefghij" not in str(raised.value)


def test_checks_that_had_nothing_to_compare_are_named() -> None:
    report = check_stage(Sound, samples=[sample()])
    assert report.idle == ("does_not_depend_on_the_batch", "survives_a_broken_image")
    assert check_stage(SoundFilter, samples=[sample()]).idle == ("judges_each_sample_alone",)
    assert check_stage(Sound).idle == check_stage(SoundFilter).idle == ()


def test_a_stage_that_is_asked_about_nothing_is_not_checked() -> None:
    with pytest.raises(ContractBroken, match="asked about no sample"):
        check_stage(Sound, samples=[])
