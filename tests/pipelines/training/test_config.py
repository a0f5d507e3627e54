"""Options of a training: names checked, defaults for released weights."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from florilegium.pipelines.training.config import TrainConfig
from florilegium.specialists.florence2.format import DEFAULT_TASKS

QUESTIONS = {"docvqa": {"prompt": "<DocVQA>{metadata.question}", "target": "{metadata.answer}"}}


def test_all_tasks_are_trained_at_the_published_safe_rate_by_default():
    config = TrainConfig(model="here")
    assert set(config.tasks) == set(DEFAULT_TASKS)
    assert config.learning_rate == 1e-6


def test_questions_are_trained_only_where_they_are_named():
    assert TrainConfig(model="here", tasks={"question_answer": 1}).chosen == ("question_answer",)
    assert "question_answer" not in TrainConfig(model="here", custom=QUESTIONS).chosen


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'object_detection'"):
        TrainConfig(model="here", tasks={"object_detectoin": 1})


@pytest.mark.parametrize("weights", [{"caption": 0}, {}, {"caption": -1}])
def test_weights_that_train_nothing_are_refused(weights):
    with pytest.raises(ValidationError, match="0"):
        TrainConfig(model="here", tasks=weights)


def test_a_custom_task_has_weight_one_by_default():
    assert TrainConfig(model="here", custom=QUESTIONS).tasks["docvqa"] == 1
    only = TrainConfig(model="here", custom=QUESTIONS, tasks={"docvqa": 3})
    assert only.tasks == {"docvqa": 3}


def test_a_custom_task_cannot_take_the_name_of_another():
    with pytest.raises(ValidationError, match="'caption'"):
        TrainConfig(model="here", custom={"caption": QUESTIONS["docvqa"]})


def test_speed_options_are_not_part_of_the_identity():
    config = TrainConfig(model="here")
    assert TrainConfig(model="here", checkpoint_every=7, threads=2).identity() == config.identity()
    assert TrainConfig(model="here", seed=7).identity() != config.identity()


@pytest.mark.parametrize("band", [(0.6, 0.15), (-0.1, 0.5), (0.5, 1.5)])
def test_a_band_of_ambiguous_confidences_is_ascending_within_0_and_1(band):
    assert TrainConfig(model="here", ambiguous=(0.15, 0.6)).ambiguous == (0.15, 0.6)
    with pytest.raises(ValidationError, match="the lower one first"):
        TrainConfig(model="here", ambiguous=band)


@pytest.mark.attack("text")
@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "", "\x1b[31m", "x" * 200, "a b", "\u202e", ".."]
)
def test_a_custom_task_has_a_name_that_logs_and_files_take(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        TrainConfig(model="here", custom={name: QUESTIONS["docvqa"]})
