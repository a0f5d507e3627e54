"""Scoring labels against ground truth, in one pass over the samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.registry import require
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.shape_world.scene import SCHEME, Scene
from florilegium.pipelines.shape_world.score.boxes import BoxTally
from florilegium.pipelines.shape_world.score.captions import CaptionTally
from florilegium.pipelines.shape_world.score.comparison import SceneComparison
from florilegium.pipelines.shape_world.score.masks import MaskTally
from florilegium.pipelines.shape_world.score.phrases import PhraseTally
from florilegium.pipelines.shape_world.score.questions import QuestionTally
from florilegium.pipelines.shape_world.score.reading import ReadingTally
from florilegium.pipelines.shape_world.score.reliability import ReliabilityTally
from florilegium.pipelines.shape_world.score.score import Score
from florilegium.pipelines.shape_world.truth import scene_of

Truth = Callable[[str], Scene]
"""Returns the scene of a sample, by its key."""


def score_labels(
    samples: Iterable[DatasetSample], truth: Truth, *, without: Collection[str] = ()
) -> Score:
    """Score the kept annotations of samples.

    Args:
        without: keys of samples to leave out, such as those of an audit.
    """
    tally = ScoreTally()
    for sample in samples:
        if sample.key not in without:
            tally.add(sample.annotations, truth(sample.key))
    return tally.score()


class ScoreTally:
    """The counts of all scores over samples."""

    def __init__(self) -> None:
        self._samples = 0
        self._boxes, self._masks, self._reading = BoxTally(), MaskTally(), ReadingTally()
        self._phrases, self._captions = PhraseTally(), CaptionTally()
        self._reliability, self._questions = ReliabilityTally(), QuestionTally()

    def add(self, annotations: Sequence[Annotation], scene: Scene) -> None:
        """Add the annotations of a sample and its scene."""
        comparison = SceneComparison(annotations=annotations, scene=scene)
        for tally in (self._boxes, self._masks, self._reading, self._phrases, self._captions):
            tally.add(comparison)
        self._reliability.add(comparison)
        self._questions.add(comparison)
        self._samples += 1

    def score(self) -> Score:
        """Return the scores of all samples."""
        return Score(
            samples=self._samples,
            boxes=self._boxes.score(),
            masks=self._masks.score(),
            ocr=self._reading.score(),
            phrases=self._phrases.score(),
            captions=self._captions.score(),
            reliability=self._reliability.score(),
            questions=self._questions.score(),
        )


def score_dataset(folder: Folder, *, without: Collection[str] = ()) -> Score:
    """Score a finished dataset of drawn scenes.

    Raises:
        UsageError: the dataset is not finished, or a package is missing.
        ConfigError: its source has no known truth.
        StorageError: a shard cannot be read.
    """
    packages = ("faster_coco_eval", "jiwer", "pycocoevalcap", "rapidfuzz", "scipy")
    require("scoring", packages, extra="refine")
    dataset = Dataset.of(folder)
    return score_labels(dataset, truth_of(dataset.source), without=without)


def truth_of(urls: Sequence[str]) -> Truth:
    """Return the ground truth of a dataset, by the URLs of its source; scenes are drawn again.

    Raises:
        ConfigError: its source is not one world of drawn scenes.
    """
    if len(urls) != 1 or not urls[0].startswith(f"{SCHEME}://"):
        raise ConfigError(
            f"the truth about {', '.join(urls)} is not known: score a dataset whose only source is "
            f"{SCHEME}://..., or audit some of its annotations"
        )
    return partial(scene_of, urls[0])
