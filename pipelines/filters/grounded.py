"""Drops captions that are tied to no region, and phrases that lie in others.

Judges by the phrases that the filters before it left: put it last. As in GrIT (Kosmos-2, arXiv
2306.14824, section 2), which keeps a caption only with a grounded phrase, and of nested referring
expressions the outermost.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS, PHRASE_TASKS, checked_captions

UNGROUNDED = "ungrounded"
NESTED = "nested"


class GroundedConfig(StageConfig):
    """Options of `Grounded`."""

    captions: Annotated[
        tuple[str, ...], THRESHOLD, NamesAmong(CAPTION_TASKS), AfterValidator(checked_captions)
    ] = CAPTION_TASKS
    """Tasks whose captions are dropped without a grounded phrase; of none, if it is empty."""
    drop_nested: Annotated[bool, THRESHOLD] = False
    """Whether a phrase is dropped that lies in a longer grounded phrase of its caption: "a field"
    in "a dog in a field". Meant for `grounding` with `expand: dependents`."""


class Grounded(Filter[GroundedConfig]):
    """Judge captions by their phrases, and phrases by each other."""

    Config = GroundedConfig
    reads = (one_of(*PHRASE_TASKS),)

    @property
    def judged_tasks(self) -> frozenset[str]:
        return frozenset((*self.config.captions, *PHRASE_TASKS))

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the captions of these tasks and, where nested ones are dropped, all phrases."""
        verdicts = Verdicts(len(statements))
        spans = statements.table.column("span").combine_chunks()
        has_span = spans.value_lengths().to_numpy(zero_copy_only=False) == 2
        is_phrase = statements.of_tasks(PHRASE_TASKS) & (statements.parent >= 0)
        phrases = np.flatnonzero(is_phrase & has_span)
        captions = statements.of_tasks(self.config.captions)
        is_grounded = _at(statements.parent[phrases], len(statements))
        verdicts.is_judged |= captions
        verdicts.drop(captions & ~is_grounded, UNGROUNDED)
        if self.config.drop_nested:
            verdicts.is_judged[phrases] = True
            start, stop = spans.take(phrases).flatten().to_numpy().reshape(-1, 2).T
            is_nested = _nested(statements.parent[phrases], start, stop)
            verdicts.drop(_at(phrases[is_nested], len(statements)), NESTED)
        return verdicts


def _nested(caption: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return which spans lie in a longer span of the same caption, bool, shape (n,)."""
    nested = np.zeros(len(caption), dtype=bool)
    # A span comes after those that it lies in: by start, then the longest first.
    order = np.lexsort((-stop, start, caption))
    outer = (-1, -1, -1)
    for place, *span in zip(order, caption[order], start[order], stop[order], strict=True):
        if span[0] == outer[0] and span[2] <= outer[2]:
            nested[place] = tuple(span) != outer
        else:
            outer = tuple(span)
    return nested


def _at(rows: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` rows these are, bool, shape (count,)."""
    where = np.zeros(count, dtype=bool)
    where[rows] = True
    return where
