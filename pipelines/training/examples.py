"""Training examples: an image, a prompt, and a target text.

The task of a sample, and which of its captions, regions and queries are used, are random; the
generator is seeded with the sample's digest, the epoch and the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from random import Random

from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.answers import SampleLabels, makers_of
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.templates import fill
from florilegium.specialists.florence2.format import FLORENCE2_TASKS, prompt_of
from florilegium.specialists.florence2.mirror import MIRRORED_TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One image, its prompt and its target.

    `prefix` is the prompt in its short form: the task's marker and its input. If `is_mirrored`, the
    target is about the image with left and right exchanged.
    """

    key: str
    task: str
    prefix: str
    prompt: str
    target: str
    image: bytes = field(repr=False)
    is_mirrored: bool = False


class ExampleMaker:
    """Makes examples from samples.

    `classes` and `phrases` are the vocabulary of the dataset, for prompts about absent objects.
    `ambiguous` has (key, task) of samples that a task must skip.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        classes: Sequence[str] = (),
        phrases: Sequence[str] = (),
        ambiguous: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self._config = config
        self._ambiguous = ambiguous
        self._weights = {name: config.tasks[name] for name in config.chosen}
        self._makers = makers_of(config, classes=classes, phrases=phrases)

    def draw(self, sample: DatasetSample, epoch: int) -> Example | None:
        """Return one example of a sample, or `None` if its labels feed no task.

        The task is drawn by weight from those that the sample can feed.
        """
        random = _random(self._config.seed, epoch, sample.sha256)
        labels = SampleLabels(sample, self._ambiguous)
        keys = {name: random.random() ** (1 / weight) for name, weight in self._weights.items()}
        # The largest of random ** (1 / weight) is a draw by weight, the next one a draw from
        # the rest (Efraimidis and Spirakis, 2006).
        ranked = sorted(keys, key=keys.__getitem__, reverse=True)
        drawn = (self._mirrored(name, labels, random) for name in ranked)
        return next((made for made in drawn if made), None)

    def every(self, sample: DatasetSample) -> Iterator[Example]:
        """Yield one example for each task that a sample can feed."""
        labels = SampleLabels(sample, self._ambiguous)
        for name in self._weights:
            random = _random(self._config.seed, name, sample.sha256)
            if made := self._make(name, labels, random):
                yield made

    def _mirrored(self, task: str, labels: SampleLabels, random: Random) -> Example | None:
        """Make an example; a share of them is mirrored (`mirrored_share`)."""
        share = self._config.mirrored_share if task in MIRRORED_TASKS else 0.0
        is_mirrored = random.random() < share
        made = self._make(task, labels.mirrored() if is_mirrored else labels, random)
        return replace(made, is_mirrored=is_mirrored) if made else None

    def _make(self, task: str, labels: SampleLabels, random: Random) -> Example | None:
        if task in self._config.custom:
            return self._custom(task, labels, random)
        pair = self._makers[task](labels, random)
        if pair is None:
            return None
        task_input, target = pair
        return Example(
            key=labels.sample.key,
            task=task,
            prefix=FLORENCE2_TASKS[task].marker + task_input,
            prompt=prompt_of(task, task_input),
            target=target,
            image=labels.sample.image,
        )

    def _custom(self, task: str, labels: SampleLabels, random: Random) -> Example | None:
        filled = fill(self._config.custom[task], labels.sample)
        if not filled:
            return None
        prompt, target = random.choice(filled)
        sample = labels.sample
        return Example(
            key=sample.key,
            task=task,
            prefix=prompt,
            prompt=prompt,
            target=target,
            image=sample.image,
        )


def _random(*parts: object) -> Random:
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))
