"""What do captions of different lengths cost in one batch?

A Florence-2 of random weights writes captions of 10 to 120 tokens; where each ends is decided here.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from florilegium.specialists.florence2.tokens import Tokens
from tests.benchmarks.table import Row

CAPTIONS = 32
SHORTEST, LONGEST = 10, 120
LIMIT = 1.1


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Tokens that were computed per token kept, and CPU seconds of the search."""

    computed: float
    cpu_s: float


class _Author:
    """A logits processor that decides where each caption ends, and counts what is computed.

    A row is known by its first word, as rows may leave the batch.
    """

    FIRST = 100

    def __init__(self, lengths: list[int], tokens: Tokens) -> None:
        self._lengths = iter(lengths)
        self._tokens = tokens
        self._of_batch: list[int] = []
        self.computed = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.computed += len(input_ids)
        written = input_ids.shape[1] - 2  # without the start of the decoder and of the text
        if written < 0:
            return scores
        scores[:, [self._tokens.start, self._tokens.pad, self._tokens.end]] = -np.inf
        rows = range(len(input_ids))
        if written == 0:
            self._of_batch = [next(self._lengths) for _ in rows]
            return _only(scores, list(rows), [self.FIRST + row for row in rows])
        lengths = [self._of_batch[first - self.FIRST] for first in input_ids[:, 2].tolist()]
        ended = [row for row in rows if written >= lengths[row]]
        return _only(scores, ended, [self._tokens.end] * len(ended))


def _only(scores: Any, rows: list[int], tokens: list[int]) -> Any:
    """Leave one token to some rows."""
    scores[rows] = -1e9
    scores[rows, tokens] = 0
    return scores


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Ask for captions in batches of 8 and 32, with the search of `transformers` and with ours."""
    lengths = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, images or CAPTIONS)
    _write(folder)
    for size in (8, 32):
        theirs, ours = (_cost(folder, lengths, size, is_ours=is_ours) for is_ours in (False, True))
        how = f"captions of {SHORTEST} to {LONGEST} tokens, batches of {size}"
        what = f"tokens computed per token kept, {size}"
        yield Row(what=f"{what}, transformers", value=theirs.computed, unit="x", how=how)
        yield Row(what=what, value=ours.computed, unit="x", limit=LIMIT, how=how)
        saved = ours.cpu_s / theirs.cpu_s
        how = f"CPU-time of the search, {ours.cpu_s:.1f} s"
        yield Row(what=f"share of transformers' time, {size}", value=saved, unit="x", how=how)


def _write(folder: Path) -> None:
    from florilegium.pipelines.shape_world.pretrain.architecture import (
        ModelSize,
        build_tiny,
        save_tiny,
    )

    size = ModelSize(
        px=64, patch_stride=(4, 2, 1), d_model=384, layers=4, text_heads=6, ffn=1536, positions=256
    )
    save_tiny(folder, *build_tiny(size=size))


def _cost(folder: Path, lengths: np.ndarray, size: int, *, is_ours: bool) -> Cost:
    from florilegium.specialists.florence2.checkpoint import resolve_florence2
    from florilegium.specialists.florence2.config import Florence2Config
    from florilegium.specialists.florence2.generation import Florence2Network

    config = Florence2Config(model=str(folder), batch_size=size, max_new_tokens=LONGEST + 8)
    network = Florence2Network(resolve_florence2(str(folder)), config)
    author = _Author(lengths.tolist(), network.tokens)
    generate, seconds = network._model.generate, 0.0

    def timed(*, custom_generate: Any, **options: Any) -> Any:
        nonlocal seconds
        before = _cpu_s()
        found = generate(
            **options,
            logits_processor=[author],
            custom_generate=custom_generate if is_ours else None,
        )
        seconds += _cpu_s() - before
        return found

    network._model.generate = timed
    seen = network.look([np.zeros((64, 64, 3), np.uint8)] * len(lengths))
    prompts = ["What does the image describe?"] * len(lengths)
    answers = network.answer(seen, range(len(lengths)), prompts, repeats=True)
    kept = [len(answer.ids) for answer in answers]
    assert kept == [length + 1 for length in lengths], "captions and their end tokens"
    return Cost(computed=author.computed / sum(kept), cpu_s=seconds)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
