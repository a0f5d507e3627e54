"""What candidates tell about a thing, as columns."""

from __future__ import annotations

from pipelines.merge.candidates import candidates_of
from pipelines.merge.hypotheses import cluster, feature_names, features, hypotheses_of
from tests.pipelines.merge.voters import said

VOTERS = ("one", "two")


def test_a_sample_of_which_nobody_says_anything_has_columns_and_no_rows() -> None:
    hypotheses = hypotheses_of(candidates_of([], "object_detection", VOTERS), iou=0.5)
    columns = features(hypotheses, ["star", "ring"], (128, 128))
    assert columns.shape == (0, len(feature_names(VOTERS, ["star", "ring"])))


def test_a_cluster_has_one_candidate_of_each_voter_even_where_one_says_two_words_of_a_box() -> None:
    heard = [
        said(10, 10, 30, 30, label="star", specialist="one", score=0.4),
        said(10, 10, 30, 30, label="ring", specialist="one", score=0.9),
        said(10, 10, 30, 30, label="ring", specialist="two", score=0.5),
    ]
    candidates = candidates_of(heard, "object_detection", VOTERS)
    assert cluster(candidates, 0.5).tolist() == [1, 0, 0]
