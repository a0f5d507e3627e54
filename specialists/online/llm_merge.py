"""Merging the captions of several stages into one by a language model.

The model gets no image. A sentence with an object that no annotation names, without other evidence,
or with an instruction is not part of the merged caption; it becomes an annotation of its own, which
the filter `unsupported` drops: a config with this stage needs that filter. `evidence` decides what
is supported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Input, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.online.annotator import (
    SYSTEM,
    Annotator,
    AnnotatorConfig,
    Conversation,
)
from florilegium.specialists.online.chat import Message
from florilegium.specialists.online.context import context_of
from florilegium.specialists.online.prompts import SHIPPED
from florilegium.specialists.words.english import english_revision
from florilegium.specialists.words.evidence import (
    EVIDENCE_TASKS,
    ObjectCheck,
    evidence_among,
    sentences,
)
from florilegium.specialists.words.word_list import WordList, read_word_list


class LlmMergeConfig(AnnotatorConfig):
    """Options of `llm_merge`."""

    prompts: Annotated[dict[str, str], CONTENT, NamesAmong(CAPTION_TASKS)] = Field(
        default={
            "caption": f"{SHIPPED}/merge_caption.txt",
            "detailed_caption": f"{SHIPPED}/merge_detailed_caption.txt",
            "more_detailed_caption": f"{SHIPPED}/merge_more_detailed_caption.txt",
        },
        min_length=1,
    )
    """The tasks to produce, and for each the path of its template; the content counts, not the
    path."""
    general_words: Annotated[str, CONTENT] = "package://florilegium/configs/blacklist.txt"
    """Path of a list of abstract nouns, which need no evidence."""


class LlmMerge(Annotator[LlmMergeConfig]):
    """One merged caption per task; `merged_from` has all captions and, for each name, the first
    other annotation with it. An unsupported sentence has the merged caption as its parent, if there
    is one.
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
        """Name the release or the host, the templates, the parser and the general words.

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
        """Merge the captions of all samples at once; samples without captions are skipped."""
        return [
            texts if isinstance(texts, SampleError) else self._merged(sample, texts)
            for sample, texts in zip(samples, self.asked(samples), strict=True)
        ]

    def conversations(self, sample: Sample) -> list[Conversation]:
        """Return one conversation per task; none for a sample without captions."""
        if not any(one.text.strip() for one in sample.of(*CAPTION_TASKS)):
            return []
        context = context_of(sample, self.config.prompt_limits)
        return [
            [SYSTEM, Message("user", (prompt.filled(context),))] for prompt in self.prompts.values()
        ]

    def _merged(self, sample: Sample, texts: Sequence[str]) -> list[Annotation]:
        evidence = evidence_among(sample.annotations)
        return [
            one
            for task, text in zip(self.produces, texts, strict=False)
            for one in self._annotations(task, sentences(text), evidence)
        ]

    def _annotations(
        self, task: str, parts: Sequence[str], evidence: Sequence[Annotation]
    ) -> Iterator[Annotation]:
        """Yield the caption of the supported sentences, then each of the others."""
        found = self._check.findings(parts, evidence)
        supported = [part for part, one in zip(parts, found, strict=True) if one.is_supported]
        merged = Annotation(
            kind="text",
            task=task,
            text=" ".join(supported),
            language=self.config.language,
            merged_from=tuple(one.id for one in evidence),
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
