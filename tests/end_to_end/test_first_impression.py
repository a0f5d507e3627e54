"""What the quickstart says of a few photographs is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium import open_dataset
from tests.benchmarks.first_impression.claims import Claim, claims_of
from tests.benchmarks.first_impression.judging import Judge
from tests.benchmarks.first_impression.measuring import CAPTIONS
from tests.benchmarks.first_impression.truth import read_truth

PHOTOGRAPHS = {
    "cat": ("skimage", "chelsea"),
    "motorcycle": ("skimage", "motorcycle"),
    "pagoda": ("sklearn", "china"),
    "page": ("skimage", "page"),
    "turned_cup": ("skimage", "coffee"),
}


def test_no_caption_of_the_quickstart_makes_a_wrong_claim(quickstart: Path) -> None:
    truth = read_truth()
    claims: list[Claim] = []
    for sample in open_dataset(str(quickstart)).select(verdict="kept"):
        if sample.key not in PHOTOGRAPHS:
            continue
        source, key = PHOTOGRAPHS[sample.key]
        judge = Judge(truth, truth.sources[source][key])
        own = [
            claim
            for one in sample.annotations
            if one.task in CAPTIONS and one.language == "en"
            for claim in claims_of(one.text)
        ]
        assert [claim for claim in own if judge.claim(claim) == "wrong"] == []
        claims += own
    assert {"name", "position", "text"} <= {claim.kind for claim in claims}


@pytest.mark.parametrize(
    ("caption", "verdicts"),
    [
        ("A brown cat in the centre.", ["right", "right", "right"]),
        ("Two green animals at the top left.", ["right", "wrong", "wrong", "wrong"]),
        ("A large tiger.", ["wrong", None]),
        ("A black and white picture.", ["wrong"]),
        ('Text that reads "MIAOW".', ["wrong"]),
        ("A picture that is mostly orange.", ["right"]),
    ],
)
def test_claims_are_judged_by_the_truth(caption: str, verdicts: list[str | None]) -> None:
    truth = read_truth()
    judge = Judge(truth, truth.sources["skimage"]["chelsea"])
    assert [judge.claim(claim) for claim in claims_of(caption)] == verdicts


@pytest.mark.parametrize("caption", ["Nobody is there.", "The cat is, it seems, asleep."])
def test_a_sentence_that_no_template_writes_is_wrong(caption: str) -> None:
    truth = read_truth()
    judge = Judge(truth, truth.sources["skimage"]["chelsea"])
    assert "wrong" in [judge.claim(claim) for claim in claims_of(caption)]
