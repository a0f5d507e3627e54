from __future__ import annotations

import pytest

from florilegium.pipelines.training.tally import LossTally


def test_means_are_per_token_and_begin_anew_while_examples_go_on():
    tally = LossTally()
    tally.add(["ocr", "caption", "ocr"], [1.0, 8.0, 5.0], [1, 4, 3])
    assert tally.means() == pytest.approx({"caption": 2.0, "ocr": 1.5})
    assert LossTally(**tally.state()) == tally
    total = LossTally.of_all_workers(tally)
    tally.restart()
    tally.add(["ocr"], [3.0], [6])
    assert tally.means() == pytest.approx({"ocr": 0.5})
    assert tally.examples == {"ocr": 3, "caption": 1}
    assert total.means() == pytest.approx({"caption": 2.0, "ocr": 1.5}), "a copy of its own"
