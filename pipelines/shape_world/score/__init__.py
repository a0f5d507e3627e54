"""How good labels are, measured against the truth of a known world.

The only room besides the world's own in which labels and truth meet. It reads finished
datasets and decides nothing: what a score is used for is for others to say.
"""

from pipelines.shape_world.score.audit import audit_from_truth, audit_rows
from pipelines.shape_world.score.measure import score_dataset, score_labels, truth_of
from pipelines.shape_world.score.rightness import is_right, rightness
from pipelines.shape_world.score.score import Score
from pipelines.shape_world.score.table import score_table

__all__ = [
    "Score",
    "audit_from_truth",
    "audit_rows",
    "is_right",
    "rightness",
    "score_dataset",
    "score_labels",
    "score_table",
    "truth_of",
]
