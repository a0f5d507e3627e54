"""The table of tasks, and what a plugin may add to it."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from florilegium.engine.core import tasks
from florilegium.engine.core.errors import PlanError
from florilegium.engine.core.task import Florence2Prompt, Task
from florilegium.engine.core.tasks import GROUP, TABLE, names_of, table_of

PLAIN = Task(name="logo", kind="region")
REFERRED = Task(
    name="find_logo",
    kind="region",
    florence2=Florence2Prompt(
        marker="<LOGO>", prompt="Find {input}", takes="text", answers="boxes"
    ),
)


def test_groups_are_what_their_names_say() -> None:
    assert tasks.CAPTION_TASKS == ("caption", "detailed_caption", "more_detailed_caption")
    assert tasks.PHRASE_TASKS == ("phrase_grounding",)
    assert tasks.ANSWER_TASKS == tasks.RESTING_TASKS == ("question_answer",)
    assert set(tasks.MASK_TASKS) == {"segmentation", "referring_segmentation"}
    assert set(tasks.DETECTION_TASKS) == {"object_detection", "open_vocabulary_detection"}
    assert set(tasks.NAMELESS_TASKS) == {"region_proposal", *tasks.MASK_TASKS}
    assert set(tasks.DESCRIBED_TASKS) == {
        *tasks.DETECTION_TASKS,
        *("dense_region_caption", "region_category", "region_description"),
    }
    assert set(names_of(lambda task: task.coco == "instance")) == {
        *tasks.DETECTION_TASKS,
        "segmentation",
    }


def test_what_needs_words_says_what_kind_of_words_they_are() -> None:
    for task in TABLE.values():
        has_words = {"text", "label"} & set(task.needs)
        assert bool(has_words) == bool(task.words), task.name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Logo"}, "lower case letters, digits and _: 'Logo'"),
        ({"name": "a/b"}, "'a/b'"),
        ({"colour": "red; }"}, "'logo' is no #rrggbb: 'red; }'"),
    ],
)
def test_a_malformed_task_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task(**{"name": "logo", "kind": "region", **fields})


def test_two_tasks_of_one_name_are_refused() -> None:
    assert list(table_of(TABLE["tag"], PLAIN)) == ["tag", "logo"]
    with pytest.raises(PlanError, match="two tasks are called 'tag'"):
        table_of(TABLE["tag"], Task(name="tag", kind="text"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"{__name__}:PLAIN", ""),
        (f"{__name__}:GROUP", "is no task: name a `Task`"),
        (f"{__name__}:ABSENT", "cannot be loaded.*imports nothing but engine.core.task"),
        (
            f"{__name__}:REFERRED",
            "has the form text -> boxes; a new task can have .*, text -> text",
        ),
    ],
)
def test_a_task_of_a_plugin_is_loaded_or_refused_with_a_cure(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    point = EntryPoint(name="logo", value=value, group=GROUP)
    monkeypatch.setattr("florilegium.engine.core.tasks.entry_points", lambda group: [point])
    if not message:
        assert list(tasks._installed()) == [PLAIN]
        return
    with pytest.raises(PlanError, match=message):
        list(tasks._installed())
