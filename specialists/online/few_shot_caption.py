"""Few-shot captions: example images with audited captions come before the prompt.

The method of Flamingo (arXiv 2204.14198) for any chat model with images: examples are earlier turns
of the conversation.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.image.reading import decode
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, CONTENT, StageConfig
from florilegium.specialists.online.chat import Image, Message
from florilegium.specialists.online.context import PromptContext
from florilegium.specialists.online.examples import Example, Examples, read_examples
from florilegium.specialists.online.lmm_caption import LmmCaption, LmmCaptionConfig
from florilegium.specialists.online.photo import jpeg


class FewShotCaptionConfig(LmmCaptionConfig):
    """Options of `few_shot_caption`."""

    examples: Annotated[str, CONTENT] = Field(default="", examples=["examples/examples.jsonl"])
    """Path of a JSONL file of examples beside its images, as `florilegium export --format few_shot`
    writes it; the content counts, not the path."""
    shots: int = Field(default=4, ge=1, le=32)
    """Examples before each prompt; one fewer for an image that is itself an example if there is no
    other."""
    example_seed: int = 0
    """Seed of the choice of examples."""
    other_languages: Annotated[dict[str, dict[str, str]], ADDED] = Field(default_factory=dict)
    """None: the examples are in one language."""

    @field_validator("other_languages")
    @classmethod
    def _as_the_examples(cls, others: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        if others:
            raise ValueError(
                "the examples are in one language: use a stage for each, or `translate`"
            )
        return others


class FewShotCaption(LmmCaption[FewShotCaptionConfig]):
    """One caption per task, after examples of that task."""

    Config: ClassVar[type[StageConfig]] = FewShotCaptionConfig

    def revision(self) -> str:
        """Name the release or the host, and the digests of templates and examples.

        Raises:
            ConfigError: the examples cannot be used, or there are too few of a task.
        """
        return f"{super().revision()}, examples {self._examples.digest}"

    def load(self) -> None:
        """Resize the images of the examples, and open the connection.

        Raises:
            ConfigError: an image has changed, or cannot be decoded.
        """
        self._photos = {one.image: self._photo(one) for one in self._examples.examples}
        super().load()

    def examples(self, sample: Sample, task: str) -> list[Message]:
        """Return the prompt and answer of each example for the sample."""
        config = self.config
        chosen = self._examples.chosen(sample, task, config.shots, config.example_seed)
        return [turn for one in chosen for turn in self._turns(one)]

    def _turns(self, example: Example) -> tuple[Message, Message]:
        """Return the prompt for an example, as for a sample without annotations, and its
        caption."""
        text = self.prompts[example.task].filled(
            PromptContext(width=example.width, height=example.height)
        )
        question = Message("user", (self._photos[example.image], text))
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
                    f"examples = {self.config.examples!r} has {count} of {task}, and shots = "
                    f"{self.config.shots}: add some, or lower shots"
                )
        return examples
