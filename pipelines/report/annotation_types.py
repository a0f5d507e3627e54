"""Counts of the eight annotation types of FLD-5B, and the grammar of captions.

Tables 2 and 3 of the Florence-2 paper, on kept annotations. Shards are added one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.tasks import DETECTION_TASKS, PHRASE_TASKS, names_of
from florilegium.pipelines.report.paper import LENGTHS, TABLE_2, TABLE_3, TypeFigures

COLUMNS = ("key", "id", "task", "text", "label", "parent_id", "kept", "verdicts")
"""The columns of a shard's Parquet file that are read."""
PHRASES = "region_category"
"""The task whose label is the phrase of a region, its category; without one, the box's own label
is."""
DESCRIPTIONS = names_of(lambda task: task.kind == "region" and task.words == "sentence")
"""The tasks whose text is the brief text of a region: the one that `region_label` chose."""
TEXT_REGIONS = names_of(
    lambda task: task.kind == "region" and task.words == "reading" and not task.is_of_region
)
"""The tasks whose regions are lines of text. They belong to region-text (section 4.3), and what is
written is both their phrase and their brief text, as Table 2 has one number of regions for both."""
_TOKEN = r"\w+|[^\w\s]"
"""A token is a word or a punctuation mark. The paper does not state its tokenizer."""

_Sums = Counter[str]


class AnnotationTypes:
    """Sums over the shards that were added."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], _Sums] = {key: Counter() for key in TABLE_2}
        self._grammar: defaultdict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))

    def add(self, table: pa.Table) -> None:
        """Count a whole shard."""
        kept = table.filter(table.column("kept"))
        tokens = _tokens(kept)
        for task, length in LENGTHS.items():
            captions = pc.equal(kept.column("task"), task)
            self._add_text(("text", length), tokens[_mask(captions)])
            self._add_phrases(("text-phrase-region", length), kept, tokens, captions)
            self._add_grammar(length, kept.column("verdicts").filter(captions))
        is_written = _is_of(TEXT_REGIONS, kept)
        phrases, descriptions = _is_phrase(kept), _is_of(DESCRIPTIONS, kept)
        self._add_regions(("region-text", "phrase"), kept, tokens, pc.or_(phrases, is_written))
        self._add_regions(("region-text", "brief"), kept, tokens, pc.or_(descriptions, is_written))

    def table_2(self) -> Mapping[tuple[str, str], TypeFigures]:
        """Return the figures of each type; the mean of zero values is `None`."""
        return {key: _figures(sums) for key, sums in self._types.items()}

    def table_3(self) -> Mapping[str, Mapping[str, float | None]]:
        """Return the mean of each measure by length of the caption; `None` if none was measured."""
        return {
            name: {length: _mean(*self._grammar[name, length]) for length in LENGTHS.values()}
            for name in TABLE_3
        }

    def _add_text(self, key: tuple[str, str], tokens: np.ndarray) -> None:
        self._types[key].update(annotations=len(tokens), tokens=int(tokens.sum()))

    def _add_phrases(
        self, key: tuple[str, str], kept: pa.Table, tokens: np.ndarray, captions: pa.ChunkedArray
    ) -> None:
        """Count captions of one length and their phrases.

        Captions without a phrase count, too: Table 2 has as many text-phrase-region annotations as
        texts, 235 and twice 126 million.
        """
        ids = kept.column("id").filter(captions).combine_chunks()
        parents = pc.is_in(kept.column("parent_id"), value_set=ids)
        of_these = _mask(pc.and_(_is_of(PHRASE_TASKS, kept), parents))
        self._types[key].update(
            annotations=len(ids),
            tokens=int(tokens[_mask(captions)].sum()),
            regions=int(of_these.sum()),
            region_tokens=int(tokens[of_these].sum()),
        )

    def _add_regions(
        self, key: tuple[str, str], kept: pa.Table, tokens: np.ndarray, chosen: pa.ChunkedArray
    ) -> None:
        """Count regions with a text, and the images that have any."""
        self._types[key].update(
            annotations=pc.count_distinct(kept.column("key").filter(chosen)).as_py(),
            regions=int(_mask(chosen).sum()),
            region_tokens=int(tokens[_mask(chosen)].sum()),
        )

    def _add_grammar(self, length: str, verdicts: pa.ChunkedArray) -> None:
        for name, values in _measurements(verdicts):
            if name in TABLE_3:
                self._grammar[name, length] += values.sum(), len(values)


def _is_phrase(kept: pa.Table) -> pa.ChunkedArray:
    """Return which rows hold the phrase of a region: its `region_category`, else the box's
    label."""
    task = kept.column("task")
    is_chosen = pc.equal(task, PHRASES)
    chosen_for = kept.column("parent_id").filter(is_chosen).combine_chunks()
    has_better = pc.is_in(kept.column("id"), chosen_for)
    is_named = pc.and_(_is_of(DETECTION_TASKS, kept), pc.invert(has_better))
    return pc.or_(is_chosen, is_named)


def _is_of(tasks: Sequence[str], kept: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(kept.column("task"), pa.array(tasks))


def _tokens(table: pa.Table) -> np.ndarray:
    """Return the tokens of each row's text, or of its label where it has no text."""
    text = table.column("text")
    words = pc.if_else(pc.equal(text, ""), table.column("label"), text)
    return pc.count_substring_regex(words, _TOKEN).to_numpy(zero_copy_only=False)


def _measurements(verdicts: pa.ChunkedArray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what filters measured on these rows, by name."""
    flat = pc.list_flatten(verdicts)
    numbers = pc.list_flatten(pc.struct_field(flat, "measurement"))
    names = pc.struct_field(numbers, "name")
    values = pc.struct_field(numbers, "value")
    for name in pc.unique(names).to_pylist():
        yield name, values.filter(pc.equal(names, name)).to_numpy(zero_copy_only=False)


def _mask(booleans: pa.ChunkedArray) -> np.ndarray:
    return booleans.to_numpy(zero_copy_only=False).astype(bool)


def _figures(sums: _Sums) -> TypeFigures:
    has_tokens, has_regions = "tokens" in sums, "regions" in sums
    if has_regions and not sums["regions"]:  # captions of which none was grounded
        return TypeFigures(annotations=0, regions=0)
    return TypeFigures(
        annotations=sums["annotations"],
        tokens=_mean(sums["tokens"], sums["annotations"]) if has_tokens else None,
        regions=sums["regions"] if has_regions else None,
        regions_per_annotation=_mean(sums["regions"], sums["annotations"]) if has_regions else None,
        region_tokens=_mean(sums["region_tokens"], sums["regions"]) if has_regions else None,
    )


def _mean(total: float, count: float) -> float | None:
    return round(float(total) / float(count), 2) if count else None
