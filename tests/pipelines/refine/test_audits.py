"""Which samples are audited, and which findings are carried to later rounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.refine.audits import FileAuditor, TruthAuditor, first_by_digest
from tests.pipelines.refine.rounds import box
from tests.pipelines.shape_world.score.labels import labelled, perfect, scene

DIGESTS = {"a": "9", "b": "1", "c": "5", "d": "3"}


def sample(key: str, *ids: str) -> DatasetSample:
    annotations = tuple(box("star", 0, 0, 9, 9, id=name) for name in ids)
    return DatasetSample(
        key=key, sha256=DIGESTS[key] * 64, width=64, height=64, annotations=annotations, image=b""
    )


def test_the_samples_of_the_smallest_digests_are_audited_whatever_their_order() -> None:
    samples = [sample(key) for key in "abcd"]
    for order in (samples, samples[::-1]):
        assert [one.key for one in first_by_digest(order, 3)] == ["b", "d", "c"]
    assert len(first_by_digest(samples, 9)) == 4


def test_truth_audits_all_annotations_of_a_number_of_samples() -> None:
    truth = scene()
    annotations = perfect(truth)
    wrong = replace(box("lamp", 0, 0, 9, 9), id="wrong")
    samples = [
        replace(labelled(truth, [*annotations, wrong]), key=key, sha256=DIGESTS[key] * 64)
        for key in "abc"
    ]
    auditor = TruthAuditor(lambda _: truth, 2)
    assert auditor.keys == frozenset()
    found = auditor.review(iter(samples))
    assert [one.key for one in found.samples] == ["b", "c"]
    assert auditor.keys == {"b", "c"}
    assert found.audit.right["wrong"] is False
    assert {name for name, is_right in found.audit.right.items() if is_right} == {
        one.id for one in annotations
    }
    assert found.earlier == ()
    assert auditor.review(samples[:1]).samples == tuple(samples[:1])
    assert auditor.keys == {"a"}, "of the last round"


def file_auditor(tmp_path: Path, **right: bool) -> FileAuditor:
    path = tmp_path / "audit.jsonl"
    lines = [json.dumps({"id": name, "right": is_right}) for name, is_right in right.items()]
    path.write_text("\n".join(lines))
    return FileAuditor(str(path))


def test_findings_of_a_file_hold_in_later_rounds(tmp_path: Path) -> None:
    auditor = file_auditor(tmp_path, one=True, two=False, three=True)
    first = auditor.review([sample("a", "one", "strange"), sample("b", "strange")])
    assert [one.key for one in first.samples] == ["a"]
    assert first.audit.right == {"one": True}
    with pytest.raises(ConfigError, match="names 2 of 3"):
        auditor.check()
    # The next round says something else of `a`: what was found of it before still counts.
    second = auditor.review([sample("c", "two", "three"), sample("a", "new")])
    assert [one.key for one in second.samples] == ["c", "a"]
    assert [[one.id for one in each.annotations] for each in second.samples] == [
        ["two", "three"], ["new"],
    ]  # fmt: skip
    assert [[one.id for one in each.annotations] for each in second.earlier] == [
        ["two", "three"], ["one"],
    ]  # fmt: skip
    assert second.audit.right == {"one": True, "two": False, "three": True}
    assert set(auditor.keys) == {"a", "c"}
    assert [one.id for one in auditor.found("a")] == ["one"]
    assert auditor.found("b") == []
    auditor.check()
