"""What candidates tell about a thing, as columns."""

from __future__ import annotations

from pipelines.merge.candidates import candidates_of
from pipelines.merge.hypotheses import feature_names, features, hypotheses_of

VOTERS = ("one", "two")


def test_a_sample_of_which_nobody_says_anything_has_columns_and_no_rows() -> None:
    hypotheses = hypotheses_of(candidates_of([], "object_detection", VOTERS), iou=0.5)
    columns = features(hypotheses, ["star", "ring"], (128, 128))
    assert columns.shape == (0, len(feature_names(VOTERS, ["star", "ring"])))
