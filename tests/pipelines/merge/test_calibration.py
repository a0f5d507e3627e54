"""A calibration as a file: found, read back, and refused when it is another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.merge.calibration import (
    Calibration,
    Fusion,
    Interval,
    TaskCalibration,
    read_calibration,
    read_file,
    sigmoid,
)
from tests.pipelines.merge.voters import worth

KNOWN = Calibration(
    voters=("b", "a"),
    names=("ring", "star"),
    audited_samples=7,
    tasks={
        "object_detection": TaskCalibration(
            voters={"b": worth(slope=1.23456789), "a": worth(weight=2)},
            fusion=Fusion(weights={"z": 1, "y": -2}, intercept=0.5, names=("star",)),
            precision=Interval(right=3, audited=4, share=0.75, low=0.3, high=0.95),
        )
    },
)


def test_a_calibration_is_a_file_of_sorted_keys_and_six_decimals() -> None:
    text = KNOWN.to_json()
    assert text.startswith('{\n "audited_samples": 7,\n "format": 1,\n "names": [\n  "ring",')
    assert '"slope": 1.234568,' in text
    assert text.index('"y": -2.0') < text.index('"z": 1.0')
    assert text.endswith("}\n")


def test_a_number_that_is_none_is_not_written() -> None:
    voters = {"a": worth(slope=float("inf"))}
    broken = Calibration(voters=("a",), tasks={"ocr": TaskCalibration(voters=voters)})
    with pytest.raises(ValueError, match="JSON compliant"):
        broken.to_json()


def test_it_reads_back_as_itself_from_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KNOWN.save(Folder(str(tmp_path / "deep")), "known.json")
    for url in (str(tmp_path / "deep" / "known.json"), f"file://{tmp_path}/deep/known.json"):
        assert read_calibration(url) == KNOWN
    monkeypatch.chdir(tmp_path / "deep")
    assert read_calibration("known.json").digest == KNOWN.digest
    assert len(KNOWN.digest) == 16
    other = Calibration.model_validate({**KNOWN.model_dump(), "audited_samples": 8})
    assert other.digest != KNOWN.digest
    assert read_file("nothing.json") is None


def test_a_file_at_the_root_is_read_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        Folder, "read", lambda folder, name, *_, **__: asked.append((folder.url, name))
    )
    read_file("/known.json")
    read_file("deep/er/known.json")
    assert asked == [("/", "known.json"), ("deep/er", "known.json")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"other\.json: it is not JSON: .*; fit it again"),
        ('{"voters": [], "tasks": {}, "taks": 1}', r"other\.json.*unknown key 'taks'"),
        ('{"voters": [], "tasks": {}, "format": 2}', r"other\.json has format 2, not 1: fit it"),
    ],
)
def test_another_file_is_named_with_its_cure(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_calibration(str(tmp_path / "other.json"))
    with pytest.raises(ConfigError, match=r"the calibration .*/none\.json is not there: fit one"):
        read_calibration(str(tmp_path / "none.json"))


def test_a_fusion_of_other_features_names_one_of_them() -> None:
    fusion = Fusion(weights={"a": 1, "b": 1}, intercept=0)
    with pytest.raises(ConfigError, match="and this version differ in 'a': fit again"):
        fusion.probability(["b", "c"], np.zeros((1, 2)))


def test_no_probability_is_quite_0_or_1() -> None:
    assert sigmoid(1e9) == 1 / (1 + np.exp(-30)) < 1
    assert sigmoid(-1e9) == 1 / (1 + np.exp(30)) > 0
