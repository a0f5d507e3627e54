"""What the page asks about a dataset: what is in it, one image, the funnel, what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from starlette.routing import BaseRoute, Route

from florilegium.engine.core.sample import dropped_by
from florilegium.pipelines.dataset.why import rows_of_image
from florilegium.pipelines.report.palette import colour
from florilegium.pipelines.report.summary import Sieve, funnel, sample_funnel
from florilegium.pipelines.serve.answers import (
    Answer,
    NoQuestion,
    NotFound,
    Question,
    answered,
    json_route,
)
from florilegium.pipelines.serve.catalogue import Catalogue
from florilegium.pipelines.serve.disagreement import AskedRanks, Disagreements
from florilegium.pipelines.serve.images import Images
from florilegium.pipelines.serve.rounds import AskedDiff, Rounds, RoundShown
from florilegium.pipelines.serve.search import Asked, AskedBeside, Search
from florilegium.pipelines.serve.shown import Explained, explained


class Specialist(Answer):
    """A specialist and the colour of its annotations: CSS colours of fill and text on it."""

    name: str
    fill: str
    ink: str


class Described(Answer):
    """What a dataset has; the choices of its filters."""

    name: str
    samples: int
    lost: int
    """Inputs that became no sample."""
    shards: int
    kept: int
    dropped: int
    tasks: tuple[str, ...]
    specialists: tuple[Specialist, ...]
    reasons: tuple[str, ...]
    rounds: tuple[RoundShown, ...]
    audits: bool
    """Whether there is a page to audit."""


class Step(Answer):
    """A filter, how much it dropped and for which reasons, and how much is left after it."""

    filter: str
    dropped: int
    left: int
    reasons: tuple[tuple[str, int], ...]


class Side(Answer):
    """Kept and dropped annotations of a task or a specialist."""

    name: str
    kept: int
    dropped: int


class Funnel(Answer):
    """From inputs to samples, and from annotations to kept ones."""

    inputs: int
    samples: int
    sample_steps: tuple[Step, ...]
    failures: tuple[tuple[str, int], ...]
    annotations: int
    kept: int
    steps: tuple[Step, ...]
    tasks: tuple[Side, ...]
    specialists: tuple[Side, ...]


class AskedSample(Question):
    """An image of the dataset or of a round, with the index of its shard, where it is known."""

    key: str = Field(min_length=1, max_length=1000)
    shard: int | None = Field(default=None, ge=0)
    round: int | None = Field(default=None, ge=0)


class Sample(Answer):
    """One image with all that was said about it; `previous` and `next` are its neighbours."""

    key: str
    shard: int
    place: int
    """Its place among all samples, from 0."""
    samples: int
    width: int
    height: int
    sha256: str
    source: str
    metadata: str
    annotations: tuple[Explained, ...]
    previous: tuple[str, int] | None
    next: tuple[str, int] | None


class AskedLost(Question):
    """Inputs that a stage lost, or that are lost for a reason."""

    stage: str = Field(default="", max_length=500)
    reason: str = Field(default="", max_length=500)
    start: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=500)


class Letter(Answer):
    """An input that became no sample; `is_drop` where a sample filter dropped it."""

    key: str
    source: str
    stage: str
    reason: str
    message: str
    is_drop: bool


class Lost(Answer):
    """Some of the inputs that became no sample."""

    letters: tuple[Letter, ...]
    found: int
    start: int
    next: int | None


class Browsing:
    """Answers about the dataset of a run."""

    def __init__(self, rounds: Rounds, *, audits: bool) -> None:
        self._rounds = rounds
        self._catalogue = rounds.current
        self._audits = audits

    def routes(self) -> list[BaseRoute]:
        """Return the routes that are only read."""
        images, search = Images(self._rounds), Search(self._catalogue)
        return [
            json_route("/api/run", NoQuestion, self.described),
            json_route("/api/images", Asked, search.page),
            json_route("/api/beside", AskedBeside, search.beside),
            json_route("/api/disagreements", AskedRanks, Disagreements(self._catalogue).ranked),
            json_route("/api/sample", AskedSample, self.sample),
            json_route("/api/funnel", NoQuestion, self.funnel),
            json_route("/api/lost", AskedLost, self.lost),
            json_route("/api/compared", AskedDiff, self._rounds.compared),
            Route("/api/image", answered(images.endpoint), methods=["GET"]),
        ]

    def described(self, _: NoQuestion) -> Described:
        """Return what the dataset has."""
        totals = self._catalogue.totals
        colours = [colour(number) for number in range(len(totals.specialists))]
        return Described(
            name=self._catalogue.folder.url.rstrip("/").rpartition("/")[2],
            samples=totals.samples,
            lost=totals.dead_letters,
            shards=len(self._catalogue.shards),
            kept=totals.annotations_kept,
            dropped=totals.annotations_dropped,
            tasks=tuple(totals.tasks),
            specialists=tuple(
                Specialist(name=name, fill=one.fill, ink=one.ink)
                for name, one in zip(totals.specialists, colours, strict=True)
            ),
            reasons=tuple(totals.drops),
            rounds=self._rounds.shown(),
            audits=self._audits,
        )

    def funnel(self, _: NoQuestion) -> Funnel:
        """Return how much each filter dropped, as in the report."""
        from florilegium.pipelines.report.page import filters_of  # all of a report: not at start

        totals, folder = self._catalogue.totals, self._catalogue.folder
        of_samples = sample_funnel(totals, filters_of(folder, "sample_filters"), ())
        return Funnel(
            inputs=totals.inputs,
            samples=totals.samples,
            sample_steps=_steps([one.sieve for one in of_samples]),
            failures=tuple(sorted(totals.failures.items(), key=lambda one: (-one[1], one[0]))),
            annotations=totals.annotations_kept + totals.annotations_dropped,
            kept=totals.annotations_kept,
            steps=_steps(funnel(totals, filters_of(folder, "filters"))),
            tasks=_sides(totals.tasks),
            specialists=_sides(totals.specialists),
        )

    def sample(self, asked: AskedSample) -> Sample:
        """Return one image with all its annotations and their verdicts, as `why` prints them.

        Raises:
            NotFound: there is no such sample; of a lost input, with the reason.
            StorageError: its shard cannot be read.
        """
        catalogue = self._rounds.catalogue(asked.round)
        try:
            place = catalogue.place(asked.key, asked.shard)
        except NotFound as error:
            raise _lost(catalogue, asked.key) or error from error
        head: dict[str, Any] = catalogue.head(place)
        rows = rows_of_image(catalogue.folder, catalogue.shards[place.shard], place.key)
        number = catalogue.starts[place.shard] + catalogue.keys(place.shard).index(place.key)
        return Sample(
            key=place.key,
            shard=place.shard,
            place=number,
            samples=len(catalogue),
            **{name: head[name] for name in ("width", "height", "sha256", "source", "metadata")},
            annotations=tuple(explained(row) for row in rows),
            previous=_neighbour(catalogue, number - 1),
            next=_neighbour(catalogue, number + 1),
        )

    def lost(self, asked: AskedLost) -> Lost:
        """Return inputs that became no sample."""
        found = [
            letter
            for letter in map(_letter, self._catalogue.letters)
            if asked.stage in ("", letter.stage) and asked.reason in ("", letter.reason)
        ]
        end = asked.start + asked.limit
        return Lost(
            letters=tuple(found[asked.start : end]),
            found=len(found),
            start=asked.start,
            next=end if end < len(found) else None,
        )


def _neighbour(catalogue: Catalogue, number: int) -> tuple[str, int] | None:
    if not 0 <= number < len(catalogue):
        return None
    shard = catalogue.shard_at(number)
    return catalogue.keys(shard)[number - catalogue.starts[shard]], shard


def _lost(catalogue: Catalogue, key: str) -> NotFound | None:
    """Return the error about an image that is not in the dataset, where it is known why."""
    letters = (_letter(row) for row in catalogue.letters if row["key"] == key)
    for one in letters:
        return NotFound(f"{key} is not in the dataset: {one.stage}: {one.reason}: {one.message}")
    return None


def _letter(row: dict[str, Any]) -> Letter:
    judge = dropped_by(row["stage"])
    return Letter(
        key=row["key"],
        source=row["source"],
        stage=judge or row["stage"],
        reason=row["reason"],
        message=row["message"],
        is_drop=bool(judge),
    )


def _steps(sieves: Sequence[Sieve]) -> tuple[Step, ...]:
    return tuple(
        Step(filter=one.filter, dropped=one.dropped, left=one.left, reasons=one.reasons)
        for one in sieves
    )


def _sides(counts: dict[str, dict[str, int]]) -> tuple[Side, ...]:
    return tuple(Side(name=name, **sides) for name, sides in counts.items())
