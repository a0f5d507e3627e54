"""The work of each training process: load the model, read examples, train, save."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florilegium.engine.core.errors import RunError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.training.files import write_doing
from florilegium.pipelines.training.reader import Part, Reader, WorkerRank
from florilegium.pipelines.training.survey import Survey
from florilegium.specialists.florence2.checkpoint import resolve_florence2

if TYPE_CHECKING:
    from florilegium.pipelines.training.collate import Collator

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")


class OutOfMemory(RunError):
    """A batch does not fit into memory."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The arguments of a training for its workers."""

    dataset: str
    config: TrainConfig
    part: Part
    survey: Survey = field(repr=False)
    output: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a training by task: losses per token and numbers of examples."""

    losses: dict[str, float]
    validation_losses: dict[str, float]
    examples: dict[str, int]


def work(loop: dict[str, TrainingJob]) -> Outcome:
    """Train as one of the workers, by default the only one.

    Raises:
        UsageError: the model is not Florence-2, or the dataset gives no examples.
        OutOfMemory: a batch does not fit.
        RunError: the loss is not finite.
    """
    job = loop["job"]
    worker_rank = _rank(job.config.workers)
    if worker_rank.rank == 0:
        write_doing(job.output, "importing torch and transformers")
    import torch

    torch.set_num_threads(job.config.threads)
    try:
        return _train(job, worker_rank)
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
            raise OutOfMemory(_last_line(error)) from error
        raise


def _train(job: TrainingJob, worker_rank: WorkerRank) -> Outcome:
    import torch

    from florilegium.pipelines.training.steps import Florence2Trainer, validation_losses
    from florilegium.pipelines.training.student import open_student, prepare, save_student
    from florilegium.pipelines.training.tally import LossTally

    if worker_rank.rank == 0:
        write_doing(job.output, "loading the model")
    model, processor = open_student(resolve_florence2(job.config.model, job.config.revision))
    torch.manual_seed(job.config.seed)  # adapters start at random
    collator = _collator(model, processor, job.config)
    model = prepare(model, job.config)
    reader = _reader(job, collator)
    trainer = Florence2Trainer(
        model, job.config, job.output, reader=reader, collator=collator, worker_rank=worker_rank
    )
    trainer.run()
    total = LossTally.of_all_workers(trainer.tally)
    validation: dict[str, float] = {}
    if worker_rank.rank == 0:
        if job.config.validation_share:
            validation = validation_losses(model, reader, collator)
        save_student(model, processor, job.output)
    return Outcome(
        losses=total.means(),
        validation_losses=validation,
        examples=dict(sorted(total.examples.items())),
    )


def _rank(workers: int) -> WorkerRank:
    """Return the rank that Ray Train gave this process; the first one if it did not start it."""
    if workers <= 1:
        return WorkerRank()
    from ray.train import get_context

    context = get_context()
    return WorkerRank(rank=context.get_world_rank(), workers=context.get_world_size())


def _collator(model: Any, processor: Any, config: TrainConfig) -> Collator:
    from florilegium.pipelines.training.collate import Collator

    text = model.config.text_config
    return Collator(
        processor,
        start_id=text.decoder_start_token_id,
        max_tokens=config.max_target_tokens,
        positions=text.max_position_embeddings,
    )


def _reader(job: TrainingJob, collator: Collator) -> Reader:
    maker = ExampleMaker(
        job.config.model_copy(update={"max_target_tokens": collator.max_tokens}),
        classes=job.survey.classes,
        phrases=job.survey.phrases,
        ambiguous=job.survey.ambiguous,
    )
    return Reader(
        dataset=open_dataset(job.dataset),
        config=job.config,
        part=job.part,
        draw=maker.draw,
        encode=collator.encode,
    )


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2] or type(error).__name__
