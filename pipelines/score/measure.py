"""Measuring labels against truth: samples go by once, each beside its scene."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from engine.errors import ConfigError
from engine.registry import require
from engine.storage import Folder
from pipelines.dataset import Labelled, manifest_of, read_dataset
from pipelines.score.boxes import BoxTally
from pipelines.score.captions import CaptionTally
from pipelines.score.comparison import Comparison
from pipelines.score.masks import MaskTally
from pipelines.score.phrases import PhraseTally
from pipelines.score.reading import ReadingTally
from pipelines.score.reliability import ReliabilityTally
from pipelines.score.score import Score
from pipelines.world.scene import SCHEME, Scene, scene_of

Truth = Callable[[str], Scene]
"""From the key of a sample to its scene."""


def score_labels(
    samples: Iterable[Labelled], truth: Truth, *, without: Collection[str] = ()
) -> Score:
    """Measure the kept annotations of samples.

    Args:
        without: keys of samples that do not count, such as those that an audit looked at.
    """
    boxes, masks, reading = BoxTally(), MaskTally(), ReadingTally()
    phrases, captions, reliability = PhraseTally(), CaptionTally(), ReliabilityTally()
    count = 0
    for sample in samples:
        if sample.key in without:
            continue
        comparison = Comparison(annotations=sample.annotations, scene=truth(sample.key))
        for tally in (boxes, masks, reading, phrases, captions):
            tally.add(comparison)
        reliability.add(comparison)
        count += 1
    return Score(
        samples=count,
        boxes=boxes.score(),
        masks=masks.score(),
        ocr=reading.score(),
        phrases=phrases.score(),
        captions=captions.score(),
        reliability=reliability.score(),
    )


def score_dataset(folder: Folder, *, without: Collection[str] = ()) -> Score:
    """Measure a finished dataset of a known world.

    Raises:
        UsageError: the dataset is not finished, or a package is missing.
        ConfigError: nobody knows the truth about its source.
        StorageError: a shard cannot be read.
    """
    packages = ("faster_coco_eval", "jiwer", "pycocoevalcap", "rapidfuzz", "scipy")
    require("scoring", packages, extra="refine")
    return score_labels(
        read_dataset(folder), truth_of(manifest_of(folder)["source"]), without=without
    )


def truth_of(urls: Sequence[str]) -> Truth:
    """Return the truth about the samples of a dataset, by the URLs of its source; drawn anew.

    Raises:
        ConfigError: its source is not one known world.
    """
    if len(urls) != 1 or not urls[0].startswith(f"{SCHEME}://"):
        raise ConfigError(
            f"the truth about {', '.join(urls)} is not known: score a dataset whose one source is "
            f"{SCHEME}://..., or let people audit some of its labels"
        )
    return partial(scene_of, urls[0])
