"""Build the quickstart over the photographs, and judge everything that it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.build import build_dataset
from florilegium.specialists.words.nouns import stem
from tests.benchmarks.children import ROOT
from tests.benchmarks.first_impression.claims import claims_of
from tests.benchmarks.first_impression.judging import Judge, Verdict
from tests.benchmarks.first_impression.pictures import gather
from tests.benchmarks.first_impression.truth import Photograph, read_truth
from tests.benchmarks.table import Row
from tests.configs import load_config

CAPTIONS = ("caption", "detailed_caption", "more_detailed_caption")
_ALONE = ("name", "background", "medium", "text")
"""Kinds of statements that are about the picture, or name themselves."""
LIMIT_WRONG, LIMIT_SILENT = 10.0, 30.0
"""Percent of the statements, and of the photographs."""
KINDS = (
    "name",
    "box",
    "mask",
    "count",
    "colour",
    "size",
    "position",
    "background",
    "medium",
    "text",
)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement about one photograph, however often it is made there."""

    key: str
    kind: str
    words: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Impression:
    """All statements, and the captions with the wrong claims of each."""

    statements: tuple[Statement, ...]
    captions: tuple[tuple[str, str, int], ...]
    """Key, text and number of wrong claims."""
    pictures: int

    def count(self, kind: str, verdict: Verdict) -> int:
        """Return the number of statements of a kind, or of "all"."""
        return Counter(
            kind in (one.kind, "all") and one.verdict == verdict for one in self.statements
        )[True]

    def share_right(self, kind: str = "all") -> float:
        """Return the share that is right, 0..1, of what can be judged; 1 if that is nothing."""
        right, wrong = self.count(kind, "right"), self.count(kind, "wrong")
        return right / (right + wrong) if right + wrong else 1.0

    @property
    def captioned(self) -> float:
        """Return the share of the pictures that have a caption, 0..1."""
        return len({key for key, _, _ in self.captions}) / self.pictures


def build(config: Path, pictures: Path, output: Path) -> None:
    """Build a config over the pictures, in this process."""
    changes = {"source": str(pictures), "output": str(output), "shard_size": 16}
    build_dataset(
        prepare(load_config(config, changes=changes, overrides=["runner.kind=in_process"]))
    )


def look_at(dataset: Path) -> Impression:
    """Judge what a finished dataset keeps of the photographs of the truth."""
    truth = read_truth()
    photographs = {key: photograph for _, key, photograph in truth.photographs()}
    statements: list[Statement] = []
    captions: list[tuple[str, str, int]] = []
    pictures = 0
    for sample in open_dataset(str(dataset)).select(verdict="kept"):
        photograph = photographs[sample.key]
        pictures += 1
        made = {  # each once: "Daisies" are "daisy"
            (kind, stem(words) if kind == "name" else words): Statement(
                key=sample.key, kind=kind, words=words, verdict=verdict
            )
            for (kind, words), verdict in _stated(sample, photograph)
            if verdict is not None
        }
        statements += made.values()
        judge = Judge(truth, photograph)
        for one in _of(sample, CAPTIONS):
            wrong = sum(judge.claim(claim) == "wrong" for claim in claims_of(one.text))
            captions.append((sample.key, one.text, wrong))
    return Impression(statements=tuple(statements), captions=tuple(captions), pictures=pictures)


def _stated(
    sample: DatasetSample, photograph: Photograph
) -> Iterator[tuple[tuple[str, str], Verdict | None]]:
    """Yield kind, words and verdict of each statement."""
    judge = Judge(read_truth(), photograph)
    for one in _of(sample, ("object_detection", "tag")):
        yield ("name", one.label), judge.name(one.label)
    for task, kind in (("object_detection", "box"), ("segmentation", "mask")):
        for number, one in enumerate(_of(sample, (task,))):
            if one.label and judge.name(one.label) == "right":
                box = _relative(one, sample)
                rounded = [round(100 * side) for side in box]
                yield (kind, f"{one.label} #{number} {rounded}"), judge.box(one.label, box)
    for one in _of(sample, ("ocr",)):
        yield ("text", one.text), judge.text(one.text)
    for one in _of(sample, CAPTIONS):
        for claim in claims_of(one.text):
            words = claim.value if claim.kind in _ALONE else f"{claim.noun}: {claim.value}"
            yield (claim.kind, words), judge.claim(claim)


def _of(sample: DatasetSample, tasks: Sequence[str]) -> list[Annotation]:
    return [one for one in sample.annotations if one.task in tasks]


def _relative(one: Annotation, sample: DatasetSample) -> list[float]:
    left, top, right, bottom = one.box_xyxy
    return [left / sample.width, top / sample.height, right / sample.width, bottom / sample.height]


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build in a folder, and yield the shares that the goals are about; `images` is unused."""
    missing = gather(folder / "pictures")
    build(ROOT / "configs" / "quickstart.yaml", folder / "pictures", folder / "dataset")
    seen = look_at(folder / "dataset")
    how = f"{seen.pictures} photographs, {len(missing)} not downloaded"
    judged = seen.count("all", "right") + seen.count("all", "wrong")
    yield Row(
        what="statements that are wrong",
        value=100 * (1 - seen.share_right()),
        unit="%",
        limit=LIMIT_WRONG,
        how=f"{how}; {judged} statements",
    )
    yield Row(
        what="photographs without a caption",
        value=100 * (1 - seen.captioned),
        unit="%",
        limit=LIMIT_SILENT,
        how=how,
    )
    bad = sum(wrong > 0 for _, _, wrong in seen.captions)
    yield Row(
        what="captions with a wrong claim",
        value=100 * bad / max(1, len(seen.captions)),
        unit="%",
        how=f"{bad} of {len(seen.captions)}",
    )
