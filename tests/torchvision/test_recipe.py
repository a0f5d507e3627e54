"""The large recipe of FLD-5B, with tiny checkpoints for its models and services on loopback: it is
annotated, merged and refined, and trains every task of Florence-2."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from florilegium.engine.core.sample import is_in_share
from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import Round
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.training.survey import survey
from florilegium.pipelines.verify.verify import verify_dataset
from florilegium.specialists.florence2.format import DEFAULT_TASKS, clean
from tests.recipes import annotation_types, tiny_refinement

pytestmark = pytest.mark.timeout(600)  # all of it runs for the first test
LONG_CAPTIONS = ("detailed_caption", "more_detailed_caption")

# Table 13 of the paper (arXiv 2311.06242), and the task that trains it.
TABLE_13 = {
    "Caption": "caption",
    "Detailed caption": "detailed_caption",
    "More detailed caption": "more_detailed_caption",
    "Region proposal": "region_proposal",
    "Region to category": "region_category",
    "Region to description": "region_description",
    "Dense region caption": "dense_region_caption",
    "Object detection": "object_detection",
    "OCR": "transcript",
    "OCR with region": "ocr",
    "Region to OCR": "region_ocr",
    "Phrase grounding": "phrase_grounding",
    "Referring expression comprehension": "open_vocabulary_detection",
    "Open vocabulary detection": "open_vocabulary_detection",
    "Referring expression segmentation": "referring_segmentation",
    "Region to segmentation": "segmentation",
}


class Refined(NamedTuple):
    """A refined recipe: its config, its rounds, the keys that the annotators were asked about."""

    config: RefineConfig
    rounds: list[Round]
    seed: set[str]

    def round(self, number: int) -> Path:
        return Path(self.config.output) / "rounds" / str(number)


@pytest.fixture(scope="module")
def refined(small_photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Refined:
    folder = tmp_path_factory.mktemp("fld5b")
    share, seed = half_of(small_photographs)
    config = tiny_refinement(
        "fld5b", folder / "models", share=share,
        source=str(small_photographs), output=str(folder / "out"), runner={"kind": "in_process"},
    )  # fmt: skip
    return Refined(config, refine(config), seed)


def half_of(photographs: Path) -> tuple[float, set[str]]:
    """Return a share of the images that has two of the four, and their keys."""
    digests = {path.stem: sha256(path.read_bytes()).hexdigest() for path in photographs.iterdir()}
    for share in (percent / 100 for percent in range(1, 100)):
        seed = {key for key, digest in digests.items() if is_in_share(digest, share)}
        if len(seed) == 2:
            return share, seed
    raise AssertionError(digests)


def test_all_eight_annotation_types_come_out(refined: Refined) -> None:
    for number in (0, 1):
        types = annotation_types(refined.round(number))
        assert len(types) == 8
        assert all(types.values()), types
    assert list(verify_dataset(Folder(refined.config.output))) == []


def test_what_an_annotator_made_up_is_no_caption(refined: Refined) -> None:
    """The service on loopback adds a giraffe to every caption that it merges."""
    dataset = open_dataset(str(refined.round(1)))
    made_up = [one for sample in dataset.select(verdict="dropped") for one in sample.annotations]
    assert any("giraffe" in one.text for one in made_up)
    assert not any("giraffe" in one.text for sample in dataset for one in sample.annotations)


def test_others_caption_a_seed_and_the_student_everything(refined: Refined) -> None:
    written = {number: long_captions(refined.round(number)) for number in (0, 1)}
    assert set(written[0]) == refined.seed
    assert set(written[1]) > refined.seed
    assert len(written[1]) == 4
    trained = {(one.name, one.steps) for one in refined.rounds[1].students}
    assert trained == {("", 1), ("writer", 1)}


def long_captions(dataset: Path) -> dict[str, int]:
    """Return how many kept long captions each sample has that has any."""
    return Counter(
        sample.key
        for sample in open_dataset(str(dataset))
        for one in sample.annotations
        if one.task in LONG_CAPTIONS
    )


def test_every_task_of_the_paper_gets_training_examples(refined: Refined) -> None:
    train = refined.config.refine.train
    assert set(TABLE_13.values()) == set(DEFAULT_TASKS) == set(train.chosen)
    for number in (0, 1):
        dataset = refined.round(number)
        assert survey(Dataset.of(Folder(str(dataset))), train).without_data == ()
        maker = ExampleMaker(train)
        made = Counter(
            example.task for sample in open_dataset(str(dataset)) for example in maker.every(sample)
        )
        assert {name: task for name, task in TABLE_13.items() if not made[task]} == {}


def test_texts_of_regions_become_referring_expressions(refined: Refined) -> None:
    samples = list(open_dataset(str(refined.round(0))))
    texts = {
        clean(one.text)
        for sample in samples
        for one in sample.annotations
        if one.task == "region_description"
    }
    trainings = (refined.config.refine.train.model_copy(update={"seed": n}) for n in range(8))
    asked = {
        example.prefix.removeprefix("<OPEN_VOCABULARY_DETECTION>")
        for train in trainings
        for sample in samples
        for example in ExampleMaker(train).every(sample)
    }
    assert asked & texts
