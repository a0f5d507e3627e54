"""chrF, the similarity of two texts by their runs of characters (Popović 2015, aclanthology
W15-3049), as sacreBLEU has it: runs of 1 to 6 without white space, recall counted twice."""

from __future__ import annotations

from collections import Counter

_LONGEST = 6
_BETA = 2


def chrf(text: str, reference: str) -> float:
    """Return how similar a text is to a reference, 0..1; 0 if one of them is empty."""
    one, other = "".join(text.split()), "".join(reference.split())
    precision = recall = 0.0
    orders = 0
    for size in range(1, _LONGEST + 1):
        runs, wanted = _runs(one, size), _runs(other, size)
        if runs and wanted:
            matches = (runs & wanted).total()
            precision += matches / runs.total()
            recall += matches / wanted.total()
            orders += 1
    if not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall)


def _runs(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))
