"""What an episode asks about an image and what the answer is, in the words of Flamingo's prompts.

Captions and names: `Output: ...`; questions and texts to read: `Question: ... Answer: ...`
(arXiv 2204.14198, appendix B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS, DETECTION_TASKS, TABLE
from florilegium.pipelines.export.flamingo import END, IMAGE, plain

CLASSIFICATION = "tag"
QUESTION = "question_answer"
READING = "transcript"
EPISODE_TASKS = tuple(
    task for task in (*CAPTION_TASKS, CLASSIFICATION, QUESTION, READING) if task in TABLE
)
"""Tasks of which episodes can be made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One thing that is asked about an image.

    `image` is the number of the image, `classes` are the names of what is known to be in it.
    """

    image: int
    task: str
    question: str
    answer: str
    classes: frozenset[str]

    @property
    def prompt(self) -> str:
        """The image's mark and the question, without the answer."""
        return f"{IMAGE}Question: {self.question} Answer:" if self.question else f"{IMAGE}Output:"

    @property
    def text(self) -> str:
        """The chunk of the image: prompt, answer, end."""
        return f"{self.prompt} {self.answer}{END}"


def shots_of(image: int, annotations: Sequence[Annotation], tasks: Sequence[str]) -> Iterator[Shot]:
    """Yield what can be asked about an image: of each task the first annotation, or the best where
    all have a score; all questions."""
    classes = _classes(annotations)
    for task in tasks:
        found = [one for one in annotations if one.task == task and one.words.strip()]
        if task != QUESTION and found:
            has_scores = all(one.score is not None for one in found)
            best = max(found, key=lambda one: one.score or 0.0) if has_scores else found[0]
            found = [best]
        for one in found:
            question, answer = _words(one)
            yield Shot(image=image, task=task, question=question, answer=answer, classes=classes)


def _words(annotation: Annotation) -> tuple[str, str]:
    """Return question and answer."""
    if annotation.task == QUESTION:
        return _line(annotation.text), _line(annotation.label)
    if annotation.task == READING:
        prompt = TABLE[READING].florence2
        return (prompt.prompt if prompt else ""), _line(annotation.text)
    if annotation.task == CLASSIFICATION:
        return "", _line(annotation.name)
    return "", _line(annotation.text)


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _classes(annotations: Sequence[Annotation]) -> frozenset[str]:
    named = (CLASSIFICATION, *DETECTION_TASKS)
    return frozenset(one.name for one in annotations if one.task in named and one.name)
