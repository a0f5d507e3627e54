"""Figures of FLD-5B as its paper gives them (arXiv 2311.06242, Tables 2 and 3), for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LENGTHS = {
    "caption": "brief",
    "detailed_caption": "detailed",
    "more_detailed_caption": "more detailed",
}
"""The paper's names for the lengths of captions, by our task."""


@dataclass(frozen=True, kw_only=True)
class TypeFigures:
    """A row of Table 2: absolute counts and means per annotation; `None` for empty cells."""

    annotations: float
    tokens: float | None = None
    regions: float | None = None
    regions_per_annotation: float | None = None
    region_tokens: float | None = None


TABLE_2: Mapping[tuple[str, str], TypeFigures] = {
    ("text", "brief"): TypeFigures(annotations=235e6, tokens=7.95),
    ("text", "detailed"): TypeFigures(annotations=126e6, tokens=31.65),
    ("text", "more detailed"): TypeFigures(annotations=126e6, tokens=70.53),
    ("region-text", "phrase"): TypeFigures(
        annotations=126e6, regions=681e6, regions_per_annotation=5.42, region_tokens=1.19
    ),
    ("region-text", "brief"): TypeFigures(
        annotations=126e6, regions=681e6, regions_per_annotation=5.42, region_tokens=2.55
    ),
    ("text-phrase-region", "brief"): TypeFigures(
        annotations=235e6, tokens=7.95, regions=1007e6, regions_per_annotation=4.27,
        region_tokens=1.93,
    ),
    ("text-phrase-region", "detailed"): TypeFigures(
        annotations=126e6, tokens=31.65, regions=1289e6, regions_per_annotation=10.25,
        region_tokens=1.49,
    ),
    ("text-phrase-region", "more detailed"): TypeFigures(
        annotations=126e6, tokens=70.53, regions=1278e6, regions_per_annotation=10.17,
        region_tokens=1.35,
    ),
}  # fmt: skip
"""The eight annotation types: kind and length of the text."""

TABLE_3: Mapping[str, Mapping[str, float]] = {
    "objects": {"brief": 3.23, "detailed": 13.31, "more detailed": 28.06},
    "attributes": {"brief": 2.80, "detailed": 7.27, "more detailed": 16.25},
    "actions": {"brief": 0.58, "detailed": 4.21, "more detailed": 8.76},
    "proper_nouns": {"brief": 1.10, "detailed": 2.40, "more detailed": 2.41},
    "object_complexity": {"brief": 2.80, "detailed": 4.00, "more detailed": 4.02},
    "action_complexity": {"brief": 1.14, "detailed": 3.63, "more detailed": 4.38},
}
"""Means over captions, by what `text_filter` measures and the length of the caption."""

NOT_COMPARABLE = frozenset({
    ("objects", "more detailed"),
    ("attributes", "brief"),
    ("actions", "detailed"),
    ("proper_nouns", "brief"),
    ("proper_nouns", "detailed"),
    ("proper_nouns", "more detailed"),
    ("object_complexity", "brief"),
    ("object_complexity", "detailed"),
})  # fmt: skip
"""Means of Table 3 that our rules do not reach on the paper's own texts.

The paper prints 26 captions of FLD-5B (Figures 4, 8 and 9). Over these, our means are more than two
standard errors away from the means here: the rules of the paper, which are not published, or its
other captions must differ. Its printed captions are lower-cased, which hides proper nouns.
"""
