"""One caption of many: a language model merges what others said, and adds nothing.

The model sees no image. A sentence that names an object which nobody named, has no other evidence
or tells its reader what to do is not part of the merged caption; it is said on its own, for the
filter `unsupported` to drop: a config with this stage needs that filter. What counts as named is
for `evidence` to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from engine.core.annotation import Annotation
from engine.core.errors import SampleError
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, Input, StageConfig, maybe, one_of
from engine.core.tasks import CAPTION_TASKS
from specialists.online.annotator import SYSTEM, Annotator, AnnotatorConfig, Conversation
from specialists.online.chat import Message
from specialists.online.heard import heard_of
from specialists.words.english import english_revision
from specialists.words.evidence import (
    EVIDENCE_TASKS,
    ObjectCheck,
    evidence_among,
    sentences,
)
from specialists.words.word_list import WordList, read_word_list


class LlmMergeConfig(AnnotatorConfig):
    """What is merged, and what may be said by anybody."""

    prompts: Annotated[dict[str, str], RUNTIME] = Field(
        default={
            "caption": "configs/prompts/merge_caption.txt",
            "detailed_caption": "configs/prompts/merge_detailed_caption.txt",
            "more_detailed_caption": "configs/prompts/merge_more_detailed_caption.txt",
        },
        min_length=1,
    )
    """The tasks to write, and for each the path of its template. Where a template lies costs
    nothing, other words do."""
    general_words: Annotated[str, RUNTIME] = "configs/blacklist.txt"
    """Path of a list of nouns that name nothing one can point at, and need no evidence."""


class LlmMerge(Annotator[LlmMergeConfig]):
    """One merged caption per task; `merged_from` names the captions heard and, of all else that
    was heard, the first to say each name. A sentence without support has the merged caption as
    its parent, where there is one.
    """

    Config: ClassVar[type[StageConfig]] = LlmMergeConfig
    reads: tuple[Input, ...] = (
        one_of(*CAPTION_TASKS),
        *(maybe(task) for task in EVIDENCE_TASKS if task not in CAPTION_TASKS),
    )
    produces: tuple[str, ...] = CAPTION_TASKS

    def require(self) -> None:
        """Check that an English pipeline is installed."""
        english_revision()

    def revision(self) -> str:
        """Name who answers, and by digest the templates, the parser and the general words.

        Raises:
            ConfigError: the key is not in the environment, or the options make no sense.
            MissingPackage: spaCy's English pipeline is not installed.
        """
        return f"{super().revision()}, {english_revision()}, words {self._general.digest[:16]}"

    def load(self) -> None:
        """Load the parser and open the connection."""
        super().load()
        self._check = ObjectCheck(self._general)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Merge the captions of all samples at once; without a caption there is no question."""
        return [
            texts if isinstance(texts, SampleError) else self._merged(sample, texts)
            for sample, texts in zip(samples, self.asked(samples), strict=True)
        ]

    def conversations(self, sample: Sample) -> list[Conversation]:
        """Tell what was heard once for each task; nothing where there is no caption."""
        if not any(one.text.strip() for one in sample.of(*CAPTION_TASKS)):
            return []
        heard = heard_of(sample, self.config.prompt_limits)
        return [
            [SYSTEM, Message("user", (prompt.filled(heard),))] for prompt in self.prompts.values()
        ]

    def _merged(self, sample: Sample, texts: Sequence[str]) -> list[Annotation]:
        heard = evidence_among(sample.annotations)
        return [
            said
            for task, text in zip(self.produces, texts, strict=False)
            for said in self._statements(task, sentences(text), heard)
        ]

    def _statements(
        self, task: str, parts: Sequence[str], heard: Sequence[Annotation]
    ) -> Iterator[Annotation]:
        """Yield the caption made of the supported sentences, then each of the others."""
        found = self._check.findings(parts, heard)
        supported = [part for part, one in zip(parts, found, strict=True) if one.is_supported]
        merged = Annotation(
            kind="text",
            task=task,
            text=" ".join(supported),
            language=self.config.language,
            merged_from=tuple(one.id for one in heard),
            id=task,
        )
        if supported:
            yield merged
        for part, one in zip(parts, found, strict=True):
            if not one.is_supported:
                yield replace(merged, text=part, id="", parent_id=task if supported else "")

    @cached_property
    def _general(self) -> WordList:
        return read_word_list(self.config.general_words)
