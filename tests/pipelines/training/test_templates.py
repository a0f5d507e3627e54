"""Custom tasks: templates filled from metadata and annotations."""

from __future__ import annotations

import json

from florilegium.pipelines.training.config import CustomTask
from florilegium.pipelines.training.templates import fill
from tests.pipelines.training.labels import BOX_TOKENS, examples, region, sample

QUESTION = CustomTask(prompt="<DocVQA>{metadata.question}", target="{metadata.answers.0}")


def test_a_question_and_its_first_answer_come_from_the_metadata():
    of = sample(metadata=json.dumps({"question": "How much?", "answers": ["<s>7 $", "seven"]}))
    assert fill(QUESTION, of) == [("<DocVQA>How much?", "7 $")]


def test_a_sample_without_the_answer_gives_no_example():
    for metadata in ({"question": "How much?"}, {"question": "?", "answers": []}, {}):
        assert fill(QUESTION, sample(metadata=json.dumps(metadata))) == []


def test_each_entry_of_a_list_is_an_example():
    task = CustomTask(prompt="<Q>{q}", target="{a}", each="metadata.pairs")
    pairs = [{"q": "one", "a": 1}, {"q": "none"}, {"q": "two", "a": 0}]
    of = sample(metadata=json.dumps({"pairs": pairs}))
    assert fill(task, of) == [("<Q>one", "1"), ("<Q>two", "0")]


def test_each_annotation_of_a_task_is_an_example():
    task = CustomTask(prompt="Read {box}", target="{text}", each="ocr")
    of = sample(region("ocr", text="Hello"), region("object_detection", text="a cat", label="cat"))
    assert fill(task, of) == [(f"Read {BOX_TOKENS}", "Hello")]


def test_an_example_of_a_custom_task_has_its_own_prompt():
    of = sample(metadata=json.dumps({"question": "How much?", "answers": ["7"]}))
    made = examples(of, "docvqa", custom={"docvqa": QUESTION})["docvqa"]
    assert (made.prompt, made.prefix, made.target) == (
        "<DocVQA>How much?",
        "<DocVQA>How much?",
        "7",
    )
