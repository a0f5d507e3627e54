from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.graph import plan
from florilegium.specialists.online.few_shot_caption import FewShotCaption, FewShotCaptionConfig
from tests.building import configure
from tests.checkpoints.few_shot_caption import write_examples
from tests.specialists.conftest import SampleOf
from tests.specialists.online.conftest import Opened
from tests.specialists.online.server import MisbehavingServer

USE = "florilegium.specialists.online.few_shot_caption:FewShotCaption"
PROMPTS = {"detailed_caption": "configs/prompts/detailed_caption.txt"}
Asking = Callable[..., FewShotCaption]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return write_examples(tmp_path / "examples", count=6)


@pytest.fixture
def asking(jsonl: Path, opened: Opened) -> Asking:
    """Make a stage that asks a server."""

    def make(server: MisbehavingServer, **options: Any) -> FewShotCaption:
        given = {"url": server.url, "examples": str(jsonl), "prompts": PROMPTS, **options}
        return opened(FewShotCaption(validated(FewShotCaptionConfig, given, where="test")))

    return make


def test_examples_come_first_each_with_its_image_question_and_answer(
    asking: Asking, photograph: SampleOf
) -> None:
    cat = Annotation(kind="text", task="caption", text="A cat.")
    with MisbehavingServer() as server:
        [[predicted]] = asking(server, shots=3, image_side=32).predict([photograph("cat", cat)])  # type: ignore[misc]
    [request] = server.requests
    roles = [message["role"] for message in request.json["messages"]]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]
    answers = [
        message["content"] for message in request.json["messages"] if message["role"] == "assistant"
    ]
    assert len(set(answers)) == 3
    assert all(answer.startswith("Noise ") for answer in answers)
    assert [max(image.size) for image in request.images] == [32] * 4
    questions = [message["content"] for message in request.json["messages"][1::2]]
    texts = [question[1]["text"] for question in questions]
    assert len(set(texts[:3])) == 1  # an example has no caption
    assert texts[3].startswith(texts[0])
    assert '"A cat."' in texts[3]
    assert predicted.task == "detailed_caption"
    assert predicted.score is None


def test_answers_are_the_same_again_in_another_process(
    asking: Asking, photograph: SampleOf, jsonl: Path
) -> None:
    samples = [photograph(name) for name in ("cat", "cup", "rocket")]
    with MisbehavingServer() as server:
        first, second = asking(server), asking(server)
        assert first.predict(samples) == second.predict(samples[::-1])[::-1]
        bodies = [request.body for request in server.requests]
    assert sorted(bodies[:3]) == sorted(bodies[3:])


def test_too_few_examples_are_named_before_anything_starts(
    album: Path, tmp_path: Path, jsonl: Path
) -> None:
    options = {"use": USE, "examples": str(jsonl), "shots": 7}
    with pytest.raises(ConfigError, match="has 6 of detailed_caption, and shots = 7"):
        plan(configure(album, tmp_path / "out", specialists={"few": options}))
    with pytest.raises(ConfigError, match="examples is empty"):
        plan(configure(album, tmp_path / "out", specialists={"few": {"use": USE}}))


def test_other_examples_make_another_fingerprint(album: Path, tmp_path: Path, jsonl: Path) -> None:
    def fingerprint(**options: Any) -> str:
        given = {"use": USE, "examples": str(jsonl), **options}
        return plan(configure(album, tmp_path / "out", specialists={"few": given})).recipe

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(example_seed=1) != first
    jsonl.write_text(jsonl.read_text().replace("Noise 3.", "Much noise."), encoding="utf-8")
    assert fingerprint() != first


def test_an_example_that_changes_on_the_way_to_the_worker_ends_the_run(jsonl: Path) -> None:
    config = FewShotCaptionConfig(examples=str(jsonl))
    planned = FewShotCaption(config)
    planned.revision()
    arrived = pickle.loads(pickle.dumps(planned))
    image = jsonl.parent / "images" / "2.png"
    image.write_bytes((jsonl.parent / "images" / "1.png").read_bytes())
    with pytest.raises(ConfigError, match=r"2\.png has changed"):
        arrived.load()
