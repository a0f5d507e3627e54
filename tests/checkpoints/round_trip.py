"""A tiny NLLB that translates back, and captions that declare to be translated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from florilegium.engine.core.sample import Sample
from tests.checkpoints.translate import write


def options(folder: Path) -> dict[str, Any]:
    """Return the options of `round_trip`."""
    return {"model": str(write("nllb", folder)), "languages": ["de"], "max_new_tokens": 24}


def given(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with a translation of each caption."""
    return [
        replace(
            sample,
            annotations=(
                *sample.annotations,
                *(
                    replace(one, language="de", parent_id=one.id, id=f"{one.id}-de")
                    for one in sample.of("caption")
                ),
            ),
        )
        for sample in samples
    ]
