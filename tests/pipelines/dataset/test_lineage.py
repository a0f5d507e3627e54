"""The record of all rounds: written, read back, and what hangs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import LINEAGE, REPORT
from florilegium.pipelines.dataset.lineage import gain_of, read_lineage, write_lineage
from florilegium.pipelines.refine.table import round_line
from tests.pipelines.refine.rounds import entry


def test_rounds_read_back_as_they_were_written(tmp_path: Path) -> None:
    rounds = [entry(0), entry(1, is_promoted=False)]
    write_lineage(Folder(str(tmp_path)), rounds)
    assert read_lineage(Folder(str(tmp_path))) == rounds


@pytest.mark.attack("changes")
@pytest.mark.parametrize(
    "data",
    [
        *(b"no json", b"{}", b"[]", b"5", b'{"rounds": 5}', b'{"rounds": [5]}'),
        *(b'{"rounds": [{"number": 1}]}', b'{"rounds": [{"number": "x", "z": {"a": []}}]}'),
    ],
)
def test_a_damaged_record_is_named_with_its_cure(tmp_path: Path, data: bytes) -> None:
    (tmp_path / LINEAGE).write_bytes(data)
    with pytest.raises(
        StorageError, match=r"refine\.json is damaged.*`florilegium refine`"
    ) as caught:
        read_lineage(Folder(str(tmp_path)))
    assert "validation error" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_report_of_other_rounds_does_not_stay(tmp_path: Path) -> None:
    output, report = Folder(str(tmp_path)), tmp_path / REPORT
    write_lineage(output, [entry(0)])
    report.write_text("about round 0")
    write_lineage(output, [entry(0)])
    assert report.exists()
    write_lineage(output, [entry(0), entry(1, is_promoted=False)])
    assert not report.exists()


def test_a_kind_of_label_that_is_lost_counts_as_nothing() -> None:
    before = {"boxes": 0.7, "ocr": 0.3}
    assert gain_of(before, {"boxes": 0.7}) == pytest.approx(-0.15)
    assert gain_of(before, {"boxes": 0.8, "ocr": 0.4}) == pytest.approx(0.1)
    assert gain_of({}, {}) == 0.0


def test_a_kind_that_was_not_measured_stays_out_of_the_gain_and_of_the_mean() -> None:
    before = {"boxes": 0.7, "ocr": None, "captions": 0.4}
    assert gain_of(before, {"boxes": 0.8, "ocr": 0.9, "captions": None}) == pytest.approx(0.1)
    assert gain_of({"ocr": None}, {"ocr": 0.9}) == 0.0
    assert entry(0, quality=before).mean_quality == pytest.approx(0.55)
    assert entry(0, quality={"ocr": None}).mean_quality is None
    assert entry(0, quality={}).mean_quality is None


def test_a_kind_that_was_not_measured_reads_back_so(tmp_path: Path) -> None:
    rounds = [entry(0, quality={"boxes": 0.7, "ocr": None})]
    write_lineage(Folder(str(tmp_path)), rounds)
    assert read_lineage(Folder(str(tmp_path))) == rounds


def test_the_line_of_a_round_shows_a_dash_for_what_was_not_measured() -> None:
    line = round_line(entry(0, quality={"boxes": 0.7, "ocr": None})).plain
    assert "boxes 0.700  ocr -  mean 0.7000 " in line
    assert "ocr -  mean - " in round_line(entry(0, quality={"ocr": None})).plain
