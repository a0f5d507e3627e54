from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core import sample as samples
from florilegium.engine.core.annotation import Annotation, stamp
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.execution.call import StoredAnswers, WorkerCall
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.shard import ShardBytes
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.engine.by_hand import caption, planned, region, shard_of

DIE = {"use": "tests.stages:Trouble", "key": "image_1", "how": "raise"}


@pytest.fixture(scope="module")
def images(album: Path) -> ShardBytes:
    return ShardBytes([(album / f"{name}.jpg").read_bytes() for name in ("cat", "cup", "flower")])


def call_about(
    images: ShardBytes, earlier: StoredAnswers | None = None, **labels: Any
) -> WorkerCall:
    return WorkerCall(shard_of(3, **labels), images, earlier or {})


def texts(graph: Graph, call: WorkerCall, name: str) -> dict[int, list[str]]:
    node = next(node for node in graph.nodes if node.name == name)
    annotations = call.part(node).annotations(range(3))
    return {number: [one.words for one in ones] for number, ones in annotations.items()}


def test_a_stage_hears_what_an_earlier_one_said(images: ShardBytes) -> None:
    graph = planned(specialists=DESCRIBED)
    bright, describe = graph.specialists
    call = call_about(images)
    call.ask(bright, [0, 1, 2])
    call.ask(describe, [0, 1, 2])
    (box,) = call.part(bright).annotations([2])[2]
    (described,) = call.part(describe).annotations([2])[2]
    assert described.parent_id == box.id
    assert (described.specialist, described.stage) == ("describe", describe.fingerprint)


def test_an_annotation_is_named_by_its_own_sample(images: ShardBytes) -> None:
    (bright,) = planned(specialists={"bright": DESCRIBED["bright"]}).specialists
    call = call_about(images)
    call.ask(bright, [2, 0])
    annotations = call.part(bright).annotations([0, 2])
    for number in (0, 2):
        ids = [one.id for one in stamp([region()], bright.provenance, f"digest-{number}")]
        assert [one.id for one in annotations[number]] == ids


def test_a_stage_is_shown_what_it_reads_of_whom_even_where_there_is_nothing(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bright, describe = planned(specialists=DESCRIBED).specialists
    seen: list[Sample] = []
    monkeypatch.setattr(bright.stage, "predict", lambda samples: [[] for _ in samples])
    monkeypatch.setattr(
        describe.stage, "predict", lambda samples: [seen.append(one) or [] for one in samples]
    )
    call = call_about(images)
    for node in (bright, describe):
        call.ask(node, [0])
    assert [(one.upstream, one.annotations) for one in seen] == [
        ({"bright": frozenset({"object_detection"})}, ())
    ]


def test_stages_that_read_the_same_share_a_sample_while_its_pixels_are_held(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bright = DESCRIBED["bright"]
    one, other, reader = planned(specialists={**DESCRIBED, "other": bright}).layered
    assert (one.view, other.view) == (((), frozenset()),) * 2
    seen: list[Sample] = []
    for node in (one, other, reader):
        monkeypatch.setattr(
            node.stage, "predict", lambda samples: [seen.append(own) or [] for own in samples]
        )
    call = call_about(images)
    for node in (one, other, reader):
        call.ask(node, [0])
    assert seen[0] is seen[1]
    assert seen[0].upstream != seen[2].upstream
    call.forget_pixels()
    call.ask(other, [0])
    assert seen[3] is not seen[1]
    assert seen[3].picture is not seen[1].picture


def test_a_stage_hears_earlier_answers_that_were_stored(images: ShardBytes) -> None:
    graph = planned(specialists=DESCRIBED)
    bright, describe = graph.specialists
    stored = stamp([region("moon")], bright.provenance, "digest-1")
    call = call_about(images, {"bright": {1: stored}})
    call.ask(describe, [1])
    assert texts(graph, call, "describe")[1] == ["A picture with a moon."]
    assert call.part(bright).table.num_rows == 0  # only new annotations


def test_a_stage_is_asked_about_its_share_of_the_samples_only(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bright = {**DESCRIBED["bright"], "sample_share": 0.5}
    (node,) = planned(specialists={"bright": bright}).specialists
    shard = shard_of(3)
    digests = ("0" * 24 + digit * 40 for digit in ("1", "9", "7"))
    records = [
        replace(one, sha256=digest) for one, digest in zip(shard.records, digests, strict=True)
    ]
    seen: list[int] = []
    monkeypatch.setattr(
        node.stage, "predict", lambda samples: seen.append(len(samples)) or [[region()]] * 2
    )
    call = WorkerCall(replace(shard, records=records), images, {})
    call.ask(node, [0, 1, 2])
    call.ask(node, [1])
    assert seen == [2]
    part = call.part(node)
    assert {number: len(own) for number, own in part.annotations(range(3)).items()} == {
        0: 1, 1: 0, 2: 1,
    }  # fmt: skip
    assert part.errors == ()


def test_a_stage_hears_only_the_tasks_that_it_reads(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (node,) = planned(specialists={"echo": {"use": "tests.stages:Echo"}}).specialists
    asked: list[list[str]] = []

    def listen(samples: Sequence[Sample]) -> list[list[Annotation]]:
        asked.extend([one.task for one in sample.annotations] for sample in samples)
        return [[] for _ in samples]

    monkeypatch.setattr(node.stage, "predict", listen)
    call_about(images, labels={0: [caption("Label."), region("box")]}).ask(node, [0, 1])
    assert asked == [["caption"], []]


def test_a_stage_knows_the_labels_of_the_source_that_it_does_not_read(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that was merged from one is known by it, even where a filter dropped the label."""
    (node,) = planned(specialists={"echo": {"use": "tests.stages:Echo"}}).specialists
    seen: list[Sample] = []
    monkeypatch.setattr(
        node.stage, "predict", lambda samples: [seen.append(one) or [] for one in samples]
    )
    call_about(images, labels={0: [caption("Label."), region("box")]}).ask(node, [0])
    (sample,) = seen
    assert [one.task for one in sample.annotations] == ["caption"]
    assert [one.task for one in sample.labels] == ["caption", "object_detection"]
    assert sample.known == (*sample.annotations, *sample.labels)


def test_a_stage_does_not_hear_a_stage_that_it_was_not_told_to_read(images: ShardBytes) -> None:
    two = {
        "one": {"use": "tests.stages:Brightest"},
        "other": {"use": "tests.stages:Brightest"},
        "describe": {"use": "tests.stages:Describe", "reads": ["other"]},
    }
    graph = planned(specialists=two)
    call = call_about(images)
    for node in graph.specialists:
        call.ask(node, [0])
    assert len(texts(graph, call, "describe")[0]) == 1


def test_who_reads_a_stage_that_failed_is_not_asked(images: ShardBytes) -> None:
    graph = planned(specialists={"bright": DIE, "describe": DESCRIBED["describe"]})
    call = call_about(images)
    for node in graph.specialists:
        call.ask(node, [0, 1, 2])
    part = call.part(graph.specialists[1])
    assert [(error.sample, error.reason) for error in part.errors] == [(1, "input_failed")]
    assert "'bright', which 'describe' reads, failed" in part.errors[0].message
    assert [len(one) for one in part.annotations([0, 2]).values()] == [1, 1]


def test_a_failure_that_was_stored_counts_too(images: ShardBytes) -> None:
    describe = planned(specialists=DESCRIBED).specialists[1]
    call = call_about(images, {"bright": {0: SampleError("broken", "")}})
    call.ask(describe, [0])
    assert call.part(describe).failed == {0}


def test_a_filter_measures_what_it_hears(images: ShardBytes) -> None:
    graph = planned(specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    call = call_about(images)
    for node in graph.layered:
        call.ask(node, [0, 1])
    boxes = call.part(graph.specialists[0]).table
    measured = call.part(graph.filters[0]).table
    assert measured.column("annotation_id").equals(boxes.column("id"))
    assert measured.column("brightness").to_pylist() == boxes.column("score").to_pylist()


def test_pixels_are_shared_until_they_are_forgotten(
    images: ShardBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = samples.decode, []
    monkeypatch.setattr(samples, "decode", lambda data: decoded.append(1) or decode(data))
    two = {name: {"use": "tests.stages:Brightest"} for name in ("one", "other")}
    graph = planned(specialists=two)
    call = call_about(images)
    for node in graph.specialists:
        call.ask(node, [0])
    assert len(decoded) == 1
    call.forget_pixels()
    call.ask(graph.specialists[0], [0])
    assert len(decoded) == 2
    assert len(texts(graph, call, "other")[0]) == 1
