"""Training Florence-2 on a finished dataset.

OUTPUT/
  inputs.json       all that determines the weights; other inputs start a new training
  checkpoints/      while it trains; a killed training resumes from the last complete one
  progress.json     what it does, then step, steps and loss, while it trains
  logs/             for TensorBoard
  model.safetensors config.json tokenizer.json ...
  training.json     the result, written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import RunError
from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.waiting import PATIENCE_S
from florilegium.engine.planning.registry import require
from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.training.checkpoints import CHECKPOINTS, sweep
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.files import (
    PROGRESS,
    digest_of_file,
    write_doing,
    write_json,
)
from florilegium.pipelines.training.launch import RAY, cluster, run_workers, waiting_workers
from florilegium.pipelines.training.reader import Part
from florilegium.pipelines.training.student import WEIGHTS
from florilegium.pipelines.training.survey import Survey, survey
from florilegium.pipelines.training.worker import Outcome, OutOfMemory, TrainingJob
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.words.relations import read_relations

VERSION = 2
"""Raise it when the same inputs would give other weights."""
FINISHED = "training.json"
INPUTS = "inputs.json"
_OURS = (FINISHED, INPUTS, PROGRESS, WEIGHTS, CHECKPOINTS, "logs", RAY, ".saving")
_POLL_S = 0.5

OnProgress = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss."""
OnWait = Callable[[str], None]
"""Called with what the workers wait for, "" if nothing."""
OnStart = Callable[[str], None]
"""Called with what a training does before its first losses."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a training; the content of `training.json`.

    `losses` are means per token over the last quarter of the steps, `validation_losses` those of
    samples that were not trained on; both by task, like `examples`. `digest` is the SHA-256 of the
    weights. `batch_size` and `gradient_accumulation` are those that fitted into memory.
    """

    steps: int
    losses: dict[str, float]
    validation_losses: dict[str, float]
    examples: dict[str, int]
    digest: str
    batch_size: int
    gradient_accumulation: int
    inputs: dict[str, Any]


def train(
    dataset: str,
    config: TrainConfig,
    output: Path,
    *,
    fold: int | None = None,
    folds: int = 1,
    address: str = "local",
    on_progress: OnProgress = lambda *_: None,
    on_survey: Callable[[Survey], None] = lambda _: None,
    on_wait: OnWait | None = None,
    on_start: OnStart = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> TrainResult:
    """Train Florence-2 on the kept annotations of a finished dataset.

    A finished training with the same inputs is returned at once; a stopped one resumes from its
    last checkpoint; other inputs start a new one. With `fold`, the samples of that fold of `folds`
    are held out. `output` must be a folder that all workers can access. `on_survey` is called with
    the training data, `on_start` with what is done before the first losses, `on_note` with each
    note for the user.

    Raises:
        UsageError: the dataset, its annotations or the model cannot be used.
        RunError: the loss is not finite, memory is insufficient, or a worker died.
    """
    require("training", ("accelerate", "pandas", "peft", "tensorboard"), extra="refine")
    output = Path(output).absolute()
    inputs = _inputs(dataset, config, fold, folds)
    finished = finished_training(output)
    if finished and finished.inputs == inputs:
        return finished
    on_start("counting annotations")
    labels = survey(Dataset.of(Folder(dataset)), config)
    on_survey(labels)
    _start(output, inputs, on_note)
    job = TrainingJob(
        dataset=absolute_url(Folder(dataset)),
        config=config,
        part=Part(
            fold=fold,
            folds=folds,
            validation_share=config.validation_share,
            sample_share=config.sample_share,
        ),
        survey=labels,
        output=output,
    )
    write_doing(output, "starting Ray" if config.workers else "starting")
    with (
        _polled(partial(_poll_progress, output, on_start), on_progress, every_s=_POLL_S),
        cluster(config, address),
        _polled(partial(_poll_waiting, config), on_wait, every_s=PATIENCE_S),
    ):
        if config.workers:
            write_doing(
                output,
                f"starting {counted(config.workers, 'training process', 'training processes')}",
            )
        used, outcome = _run_halving(job)
    return _finish(output, inputs, used, outcome)


def absolute_url(folder: Folder) -> str:
    """Return a URL that is valid in workers, which may have another current and home folder."""
    return folder.path("").rstrip("/") if folder.is_local else folder.url


def finished_training(output: Path) -> TrainResult | None:
    """Return the result of a training, or `None` if it is unfinished or damaged."""
    try:
        result = TrainResult(**json.loads((output / FINISHED).read_bytes()))
        is_whole = digest_of_file(output / WEIGHTS) == result.digest
    except (OSError, TypeError, ValueError):
        return None  # missing, or of another version: it is trained again
    return result if is_whole else None


def _inputs(dataset: str, config: TrainConfig, fold: int | None, folds: int) -> dict[str, Any]:
    identity = config.identity()
    # The digest of the weights counts, not their location.
    del identity["model"], identity["revision"]
    return {
        "version": VERSION,
        "dataset": digest_of(open_dataset(dataset).shards),
        "model": resolve_florence2(config.model, config.revision).digest,
        "fold": fold,
        "folds": folds,
        "kinds_and_parts": read_relations(config.kinds_and_parts).digest,
        "config": identity,
    }


def _start(output: Path, inputs: dict[str, Any], on_note: Callable[[str], None]) -> None:
    """Prepare the folder: remove files of a training with other inputs, and checkpoints that were
    changed since they were written."""
    try:
        earlier = json.loads((output / INPUTS).read_bytes())
    except (OSError, ValueError):
        earlier = None
    if earlier != inputs:
        for name in _OURS:
            path = output / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        output.mkdir(parents=True, exist_ok=True)
        write_json(output, INPUTS, inputs)
    for name in sweep(output):
        on_note(
            f"{name} of {output.name} has other files than were written there, so it is removed "
            "and not read: the training resumes from an earlier one, or starts anew"
        )


def _finish(
    output: Path, inputs: dict[str, Any], used: TrainConfig, outcome: Outcome
) -> TrainResult:
    """Write the result of a training, and remove what only a resumption needs."""
    result = TrainResult(
        steps=used.steps,
        **asdict(outcome),
        digest=digest_of_file(output / WEIGHTS),
        batch_size=used.batch_size,
        gradient_accumulation=used.gradient_accumulation,
        inputs=inputs,
    )
    write_json(output, FINISHED, asdict(result))
    for name in (CHECKPOINTS, RAY):
        shutil.rmtree(output / name, ignore_errors=True)
    return result


def _run_halving(job: TrainingJob) -> tuple[TrainConfig, Outcome]:
    """Run a job; if memory is insufficient, once more with half the batch."""
    config = job.config
    try:
        return config, run_workers(job)
    except OutOfMemory as error:
        if config.batch_size == 1:
            raise RunError(
                f"a single example does not fit into memory ({error}): set freeze_vision, lora or "
                f"precision: bf16, or use a larger device"
            ) from error
        half = config.model_copy(
            update={
                "batch_size": (config.batch_size + 1) // 2,
                "gradient_accumulation": config.gradient_accumulation * 2,
            }
        )
    try:
        return half, run_workers(replace(job, config=half))
    except OutOfMemory as error:
        raise RunError(
            f"neither a batch of {config.batch_size} nor one of {half.batch_size} fits into "
            f"memory ({error}): set a smaller batch_size and a larger gradient_accumulation, "
            f"freeze_vision, lora or precision: bf16"
        ) from error


@contextmanager
def _polled(poll: Callable[[Any, Any], Any], callback: Any, *, every_s: float) -> Iterator[None]:
    """Poll every `every_s` seconds and once at the end: `poll(last, callback)` calls `callback` if
    something changed since `last`, and returns the new state."""
    if callback is None:
        yield
        return
    is_over = Event()

    def watch() -> None:
        last = None
        while not is_over.wait(every_s):
            last = poll(last, callback)
        poll(last, callback)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _poll_progress(output: Path, on_start: OnStart, last: Any, on_progress: OnProgress) -> Any:
    """Report the progress file that this process and the worker of rank 0 write."""
    try:
        now = json.loads((output / PROGRESS).read_bytes())
    except (OSError, ValueError):
        return last
    if now != last and "doing" in now:
        on_start(now["doing"])
    elif now != last:
        on_progress(now["step"], now["steps"], now["loss"])
    return now


def _poll_waiting(config: TrainConfig, last: Any, on_wait: OnWait) -> Any:
    """Report what the workers of Ray wait for."""
    now = waiting_workers(config)
    if now != last:
        on_wait(now)
    return now
