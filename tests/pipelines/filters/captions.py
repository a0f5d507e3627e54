"""Captions of our own with the right verdict of the quickstart's filters, and their verdicts.

`captions.tsv` has a verdict and a caption a line; the verdict is `keep` or the reason of a drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.planning.graph import plan
from tests.configs import load_config
from tests.pipelines.filters.statements import caption, reasons, statements

KEEP = "keep"
CONFIG = Path("configs/quickstart.yaml")
_CALL = 32


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """A caption and what is right of it: `keep`, or the reason of its drop."""

    text: str
    verdict: str


def read_captions() -> list[Captioned]:
    """Return the captions of the file, in its order."""
    lines = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines[1:])
    return [Captioned(verdict=verdict, text=text) for verdict, text in rows]


class DefaultFilters:
    """The filters of the quickstart that judge captions, loaded, with its options."""

    def __init__(self) -> None:
        graph = plan(load_config(CONFIG), is_dry=True)
        readers = [
            node.stage
            for node in graph.filters
            if any(set(CAPTION_TASKS).intersection(one.tasks) for one in node.stage.reads)
        ]
        for stage in readers:
            stage.load()
        self._stages = readers

    def verdicts(self, texts: Sequence[str]) -> list[str]:
        """Return `keep` or the reason of the drop for each caption, filter after filter."""
        captions = [caption(text, id=f"a{row}") for row, text in enumerate(texts)]
        samples = [
            Sample(key=one.id, width=1, height=1, picture=Picture(b""), annotations=(one,))
            for one in captions
        ]
        found = np.full(len(texts), "", dtype=object)
        for stage in self._stages:
            measured = [
                dict(one.values)
                for start in range(0, len(samples) if stage.measured else 0, _CALL)
                for [one] in stage.measure(samples[start : start + _CALL])
            ]
            numbers = {name: [one.get(name, np.nan) for one in measured] for name in stage.measured}
            dropped = np.flatnonzero(found != "").tolist()
            rows = statements(captions, dropped=dropped, measurements=numbers)
            found = np.where(found == "", reasons(stage.judge(rows)), found)
        return [str(reason) or KEEP for reason in found]
