"""Captions after examples: images and their audited captions come first, then the question.

The role of Flamingo (arXiv 2204.14198) in the hands of any chat model with images: the examples
are interleaved as earlier turns of the conversation. What makes an example good is not known
here.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import Annotated, ClassVar

from pydantic import Field

from engine.core.errors import ConfigError, SampleError
from engine.core.image import decode
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, StageConfig
from specialists.online.chat import Image, Message
from specialists.online.examples import Example, Examples, read_examples
from specialists.online.heard import Heard
from specialists.online.lmm_caption import LmmCaption, LmmCaptionConfig
from specialists.online.photo import jpeg


class FewShotCaptionConfig(LmmCaptionConfig):
    """Which examples are shown, and how many."""

    examples: Annotated[str, RUNTIME] = ""
    """Path of a JSONL file of examples beside its images, as `florilegium export --format few_shot`
    writes it. Where it lies costs nothing, other examples do."""
    shots: int = Field(default=4, ge=1, le=32)
    """Examples shown before each question; one fewer for an image that is an example itself and
    has no other to take its place."""
    example_seed: int = 0
    """Of the choice of examples: the same image and seed, the same examples."""


class FewShotCaption(LmmCaption[FewShotCaptionConfig]):
    """One caption per task, asked for after examples of that task."""

    Config: ClassVar[type[StageConfig]] = FewShotCaptionConfig

    def revision(self) -> str:
        """Name who answers, the templates and the examples, by digest.

        Raises:
            ConfigError: the examples cannot be used, or there are too few of a task.
        """
        return f"{super().revision()}, examples {self._examples.digest}"

    def load(self) -> None:
        """Make the images of the examples small, and open the connection.

        Raises:
            ConfigError: an image is another than it was, or cannot be decoded.
        """
        self._photos = {one.image: self._photo(one) for one in self._examples.examples}
        super().load()

    def examples(self, sample: Sample, task: str) -> list[Message]:
        """Return question and answer for each example that the sample is shown."""
        config = self.config
        shown = self._examples.chosen(sample, task, config.shots, config.example_seed)
        return [turn for one in shown for turn in self._turns(one)]

    def _turns(self, example: Example) -> tuple[Message, Message]:
        """Ask about an example as about a sample of which nobody said anything, and answer."""
        asked = self.prompts[example.task].filled(Heard(width=example.width, height=example.height))
        question = Message("user", (self._photos[example.image], asked))
        return question, Message("assistant", (example.text,))

    def _photo(self, example: Example) -> Image:
        try:
            data = example.image.read_bytes()
            if sha256(data).hexdigest() != example.sha256:
                raise ConfigError(f"the example {example.image} has changed: start again")
            pixels = decode(data)
        except (OSError, SampleError) as error:
            raise ConfigError(f"the example {example.image} cannot be used: {error}") from error
        return Image(data=jpeg(pixels, self.config.image_side, self.config.quality))

    @cached_property
    def _examples(self) -> Examples:
        examples = read_examples(self.config.examples)
        for task in self.produces:
            if (count := len(examples.of(task))) < self.config.shots:
                raise ConfigError(
                    f"examples = {self.config.examples!r} holds {count} of {task}, and shots = "
                    f"{self.config.shots}: add some, or ask for fewer"
                )
        return examples
