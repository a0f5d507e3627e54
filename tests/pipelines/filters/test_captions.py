from __future__ import annotations

from collections import Counter

import pytest

from tests.pipelines.filters.captions import KEEP, DefaultFilters, read_captions


@pytest.fixture(scope="module")
def filters() -> DefaultFilters:
    return DefaultFilters()


def test_half_of_the_captions_are_to_be_kept():
    found = Counter(one.verdict == KEEP for one in read_captions())
    assert found == {True: 100, False: 100}
    assert len({one.text for one in read_captions()}) == 200


def test_the_default_filters_give_every_caption_its_verdict_and_reason(filters):
    captions = read_captions()
    verdicts = filters.verdicts([one.text for one in captions])
    wrong = [
        (one.text, one.verdict, verdict)
        for one, verdict in zip(captions, verdicts, strict=True)
        if verdict != one.verdict
    ]
    assert wrong == []


def test_a_caption_is_judged_by_itself(filters):
    texts = [one.text for one in read_captions()][::40]
    assert [filters.verdicts([text])[0] for text in texts] == filters.verdicts(texts)
