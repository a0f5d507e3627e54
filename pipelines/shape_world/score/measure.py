"""Measuring labels against truth: samples go by once, each beside its scene."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from engine.core.annotation import Annotation
from engine.core.errors import ConfigError
from engine.planning.registry import require
from engine.records.dataset import Dataset
from engine.records.dataset_sample import DatasetSample
from engine.storage.folder import Folder
from pipelines.shape_world.scene import SCHEME, Scene
from pipelines.shape_world.score.boxes import BoxTally
from pipelines.shape_world.score.captions import CaptionTally
from pipelines.shape_world.score.comparison import Comparison
from pipelines.shape_world.score.masks import MaskTally
from pipelines.shape_world.score.phrases import PhraseTally
from pipelines.shape_world.score.reading import ReadingTally
from pipelines.shape_world.score.reliability import ReliabilityTally
from pipelines.shape_world.score.score import Score
from pipelines.shape_world.truth import scene_of

Truth = Callable[[str], Scene]
"""From the key of a sample to its scene."""


def score_labels(
    samples: Iterable[DatasetSample], truth: Truth, *, without: Collection[str] = ()
) -> Score:
    """Measure the kept annotations of samples.

    Args:
        without: keys of samples that do not count, such as those that an audit looked at.
    """
    tally = Tally()
    for sample in samples:
        if sample.key not in without:
            tally.add(sample.annotations, truth(sample.key))
    return tally.score()


class Tally:
    """All measures of the samples that went by."""

    def __init__(self) -> None:
        self._samples = 0
        self._boxes, self._masks, self._reading = BoxTally(), MaskTally(), ReadingTally()
        self._phrases, self._captions = PhraseTally(), CaptionTally()
        self._reliability = ReliabilityTally()

    def add(self, annotations: Sequence[Annotation], scene: Scene) -> None:
        """Count what was said of a sample beside its scene."""
        comparison = Comparison(annotations=annotations, scene=scene)
        for tally in (self._boxes, self._masks, self._reading, self._phrases, self._captions):
            tally.add(comparison)
        self._reliability.add(comparison)
        self._samples += 1

    def score(self) -> Score:
        """Sum up."""
        return Score(
            samples=self._samples,
            boxes=self._boxes.score(),
            masks=self._masks.score(),
            ocr=self._reading.score(),
            phrases=self._phrases.score(),
            captions=self._captions.score(),
            reliability=self._reliability.score(),
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
    dataset = Dataset.of(folder)
    return score_labels(dataset, truth_of(dataset.source), without=without)


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
