"""The steps of a training: which worker reads which batches, and how losses are normalised."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from florilegium.pipelines.training import steps
from florilegium.pipelines.training.collate import IGNORED, Collator
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import Example
from florilegium.pipelines.training.steps import (
    Batches,
    Florence2Trainer,
    WorkerRank,
    example_losses,
)
from florilegium.pipelines.training.student import open_student
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.florence2.format import prompt_of
from tests.pipelines.training.labels import contents
from tests.pipelines.training.test_collate import picture

TARGETS = ("circle", "square circle square", "circle circle", "square circle square circle circle")
TASKS = ("caption", "detailed_caption", "caption", "detailed_caption")


ALONE = WorkerRank()


@pytest.fixture
def loaded(reader, monkeypatch):
    """Read batches as a loader does from its processes in turn; 0 means this process."""

    def load(count: int, *, loaders: int, first: int = 0, rank: WorkerRank = ALONE, pool: int = 2):
        batches = Batches(reader(length_pool=pool), rank, first=first)
        streams = []
        for number in range(max(1, loaders)):
            info = SimpleNamespace(num_workers=loaders, id=number) if loaders else None
            monkeypatch.setattr(steps, "get_worker_info", lambda info=info: info)
            streams.append(iter(batches))
        return [contents(next(streams[turn % len(streams)])) for turn in range(count)]

    return load


@pytest.mark.parametrize("loaders", [0, 1, 2, 3])
@pytest.mark.parametrize("first", [1, 2, 5, 6])
def test_a_stream_resumes_with_any_number_of_loaders(loaded, loaders, first):
    whole = loaded(12, loaders=loaders)
    assert loaded(12 - first, loaders=loaders, first=first) == whole[first:]


def test_loaders_of_several_workers_share_an_epoch_without_overlap(loaded):
    """Two workers with two loaders each: four streams over five shards."""
    seen = [
        key
        for rank in range(2)
        for batch in loaded(2, loaders=2, rank=WorkerRank(rank=rank, workers=2), pool=1)
        for key, _ in batch
    ]
    assert len(seen) == len(set(seen)) == 8


@pytest.fixture
def trainer(untrained, tmp_path):
    """Make a trainer with a model of its own, one of some workers."""

    def make(workers: int) -> Florence2Trainer:
        model, processor = open_student(resolve_florence2(str(untrained)))
        config = TrainConfig(model=str(untrained), workers=0)
        collate = Collator(processor, start_id=2, max_tokens=100, positions=256)
        worker_rank = WorkerRank(rank=0, workers=workers)
        return Florence2Trainer(
            model, config, tmp_path, reader=None, collator=collate, worker_rank=worker_rank
        )

    return make


def batch_of(trainer: Florence2Trainer, *numbers: int) -> dict:
    image = picture((32, 32))
    examples = [
        Example(key="a", task=TASKS[n], prefix="", prompt=prompt_of(TASKS[n]), target=TARGETS[n],
                image=image)
        for n in numbers
    ]  # fmt: skip
    return trainer._collator([trainer._collator.encode(one) for one in examples])


def gradient(trainer: Florence2Trainer, tokens: int, *numbers: int) -> torch.Tensor:
    """Return the gradient of some examples in a step of so many tokens, all weights in one row."""
    trainer.model.zero_grad()
    trainer.compute_loss(
        trainer.model, batch_of(trainer, *numbers), num_items_in_batch=tokens
    ).backward()
    return torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()
                      if weight.grad is not None])  # fmt: skip


def token_count(trainer: Florence2Trainer, *numbers: int) -> int:
    return int((batch_of(trainer, *numbers)["labels"] != IGNORED).sum())


def test_two_workers_with_half_batches_learn_the_same_as_one(trainer):
    """Batches of unlike lengths: each token weighs the same, in whichever half it is."""
    alone, one_of_two = trainer(1), trainer(2)
    tokens = token_count(alone, 0, 1, 2, 3)
    assert token_count(alone, 0, 2) < token_count(alone, 1, 3)
    whole = gradient(alone, tokens, 0, 1, 2, 3)
    halves = [gradient(one_of_two, tokens, *half) for half in ((0, 2), (1, 3))]
    mean = (halves[0] + halves[1]) / 2  # what workers do with their gradients
    assert whole.norm() > 0.1
    torch.testing.assert_close(mean, whole, rtol=1e-3, atol=1e-5)


def test_the_loss_of_a_step_is_normalised_over_all_its_batches(trainer):
    one = trainer(1)
    batches = [batch_of(one, 0, 1), batch_of(one, 2)]
    found = one._get_num_items_in_batch(batches, torch.device("cpu"))
    assert int(found) == token_count(one, 0, 1) + token_count(one, 2)


def test_losses_are_counted_by_the_task_of_each_example(trainer):
    one = trainer(1)
    one.compute_loss(one.model, batch_of(one, 3, 0, 1), num_items_in_batch=99)
    alone = {}
    for number in (0, 1, 3):
        batch = batch_of(one, number)
        batch.pop("tasks")
        labels = batch.pop("labels")
        head = one.model.get_output_embeddings()
        with torch.inference_mode():
            alone[number] = float(example_losses(one.model, batch, labels, head=head).sum())
            theirs = one.model(**batch, labels=labels).loss
        assert alone[number] == pytest.approx(float(theirs) * token_count(one, number), rel=1e-4)
    assert one.tally.examples == {"caption": 1, "detailed_caption": 2}
    assert one.tally.means() == pytest.approx(
        {
            "caption": alone[0] / token_count(one, 0),
            "detailed_caption": (alone[1] + alone[3]) / token_count(one, 1, 3),
        },
        rel=1e-4,
    )


def test_a_process_that_sees_two_gpus_trains_on_one(configure, tmp_path, monkeypatch):
    """Else transformers copies the model to both, and the losses are those of half a batch."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert steps._arguments(configure(num_gpus=2), tmp_path).n_gpu == 1
