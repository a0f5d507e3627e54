"""Florence-2 as a specialist: any of its 15 tasks, and answers to questions, with
scores.

Works for released weights and for students of the refinement loop. `prompts` makes the prompts,
`generation` answers them, `answer` parses the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample, fold_of
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.format import FLORENCE2_TASKS, clean
from florilegium.specialists.florence2.mirror import MirroredView, mirrored
from florilegium.specialists.florence2.prompts import in_order, inputs, prompts_of, subjects_of_all
from florilegium.specialists.pretrained.checkpoint import Checkpoint, model_name
from florilegium.specialists.pretrained.network import CALLS_AT_ONCE, Network
from florilegium.specialists.pretrained.views import View

if TYPE_CHECKING:
    from florilegium.specialists.florence2.answer import AnswerParser
    from florilegium.specialists.florence2.generation import Florence2Network


class Florence2(Specialist[Florence2Config]):
    """Annotations from Florence-2's task prompts.

    Score of a box, quad or mask: the geometric mean, over its location tokens, of the probability
    within 15 bins of each, times the probability of its name (for a description the geometric mean
    of its tokens). Score of a text: the geometric mean of its tokens and the end token, of a
    region's name their product; that the answer repeats the region does not count. The parent of a
    phrase is its caption, that of a mask or category the box or phrase of its prompt, that of an
    answer the question, which another stage asked. The quad of a
    line starts at the corner that the model gives first, by training the top left of the text.
    """

    Config: ClassVar[type[StageConfig]] = Florence2Config
    version: ClassVar[int] = 3
    produces: tuple[str, ...] = tuple(FLORENCE2_TASKS)
    calls_at_once: ClassVar[int] = CALLS_AT_ONCE

    def __init__(self, config: Florence2Config) -> None:
        super().__init__(config)
        self.produces = config.tasks
        self.reads = inputs(config.tasks)
        self.each = subjects_of_all(config.tasks)

    @property
    def model(self) -> str:
        """The checkpoint, or those of all folds; for a folder only its name."""
        return self.config.named(", ".join(map(model_name, self.config.models)))

    def revision(self) -> str:
        """Name the commits on the hub or the digests of the files."""
        return ", ".join(checkpoint.digest for checkpoint in self.checkpoints())

    def caveat(self) -> str:
        """Return a caveat for random weights."""
        return self.config.caveat

    def load(self) -> None:
        """Load the weights of every fold."""
        from florilegium.specialists.florence2.answer import AnswerParser
        from florilegium.specialists.florence2.generation import Florence2Network

        self._networks: list[Florence2Network] = []
        for checkpoint in self.checkpoints():
            first = self._networks[0].network if self._networks else None
            self._networks.append(Florence2Network(checkpoint, self.config, beside=first))
        self._parsers: list[AnswerParser] = [
            AnswerParser(network.processor, network.tokens, language=self.config.language)
            for network in self._networks
        ]

    def networks(self) -> list[Network]:
        """Return the network of every fold."""
        return [one.network for one in self._networks]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Label each sample by the model of its fold."""
        folds = [fold_of(sample.sha256, len(self._networks)) for sample in samples]
        answers: list[list[Annotation]] = [[] for _ in samples]
        for fold in sorted(set(folds)):
            rows = [row for row, found in enumerate(folds) if found == fold]
            found_in = self._labelled(fold, [samples[row] for row in rows])
            for row, own in zip(rows, found_in, strict=True):
                answers[row] = own
        return answers

    def _labelled(self, fold: int, samples: Sequence[Sample]) -> list[list[Annotation]]:
        network = self._networks[fold]
        views: list[View] = [sample.picture for sample in samples]
        if self.config.mirrored:
            views = [MirroredView(sample.picture) for sample in samples]
        image_tokens = network.look(views)
        labels: list[list[Annotation]] = [[] for _ in samples]
        for task in in_order(self.config.tasks):
            prompts = [
                (row, prompt)
                for row, sample in enumerate(samples)
                for prompt in prompts_of(
                    task, [*sample.annotations, *labels[row]], _size(sample), self._queries
                )
            ]
            generated = network.answer(
                image_tokens,
                [row for row, _ in prompts],
                [prompt.prompt for _, prompt in prompts],
                repeats=FLORENCE2_TASKS[task].answers != "text",
            )
            for (row, prompt), answer in zip(prompts, generated, strict=True):
                for one in self._parsers[fold].annotations(prompt, answer):
                    if self.config.mirrored:
                        one = mirrored(one, samples[row].width)
                    if one.score is None or one.score >= self.config.least_score:
                        # A temporary id, so that later tasks can refer to it as their parent.
                        labels[row].append(replace(one, id=f"said-{len(labels[row])}"))
        return labels

    @property
    def _queries(self) -> list[tuple[str, ...]]:
        queries = tuple(query for query in self.config.queries if clean(query))
        size = self.config.queries_at_once
        return [queries[start : start + size] for start in range(0, len(queries), size)]

    def checkpoints(self) -> list[Checkpoint]:
        """Find the checkpoint of every fold.

        Raises:
            MissingModel: one is not in the local cache of the hub.
            ConfigError: one cannot be used.
        """
        is_random = bool(self.config.caveat)
        return [
            resolve_florence2(model, self.config.revision, is_random=is_random)
            for model in self.config.models
        ]


def _size(sample: Sample) -> tuple[int, int]:
    return sample.width, sample.height
