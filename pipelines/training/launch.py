"""The workers of a training, by Ray Train; with no workers, the same in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any

from engine.core.counted import counted
from engine.core.errors import FlorilegiumError, RunError
from engine.execution.ray_runner import start_ray
from engine.execution.waiting import waiting_for
from engine.planning.config import RunnerConfig
from pipelines.training.config import TrainConfig
from pipelines.training.worker import Job, Outcome, OutOfMemory, work

RAY = ".ray"
"""What Ray Train writes lies in this folder of the output while it trains."""


def run_workers(job: Job) -> Outcome:
    """Train with as many workers as the config says and return what came of it.

    Raises:
        UsageError: what a worker refused.
        OutOfMemory: a batch did not fit.
        RunError: a worker failed in another way.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # else the end waits for 2 s
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    logging.getLogger("ray.train").setLevel(logging.WARNING)  # else it says how it works
    config = job.config
    trainer = TorchTrainer(
        work,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.num_gpus > 0,
            resources_per_worker={"CPU": 1, "GPU": config.num_gpus},
        ),
        run_config=RunConfig(
            name="run",
            storage_path=str(job.output / RAY),
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    try:
        result = trainer.fit() if config.workers == 0 else _beside(trainer.fit)
        return result.return_value
    except TrainingFailedError as error:
        raise _cause(error) from error


def _beside(call: Callable[[], Any]) -> Any:
    """Call something in another thread and wait: in the main thread Ray Train would take over
    Ctrl-C, for good, and end the process as if all were well.
    """
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result()


def _cause(error: Any) -> FlorilegiumError:
    """Return what went wrong in a worker, in our words where they are ours."""
    from ray.exceptions import OutOfMemoryError

    failures = list(getattr(error, "worker_failures", {}).values())
    causes = [getattr(one, "_base_exc", None) or one.__cause__ or one for one in failures]
    for cause in causes:
        if isinstance(cause, FlorilegiumError):
            return cause
        if isinstance(cause, OutOfMemoryError):
            return OutOfMemory(str(cause))
    said = str(causes[0] if causes else error).strip()
    return RunError(
        f"a training worker failed: {said}; run the same command again, it goes on from the "
        f"last checkpoint"
    )


def waiting_workers(config: TrainConfig) -> str:
    """Tell what the workers wait for; "" when they have their places, or need none."""
    if config.workers == 0:
        return ""
    from ray.util import placement_group_table

    try:  # Ray Train asks for all its workers at once, by a placement group.
        states = [group["state"] for group in placement_group_table().values()]
    except Exception:  # what cannot be found out does not end a training
        return ""
    if "PENDING" not in states:
        return ""
    return waiting_for(cpus=config.workers, gpus=config.workers * config.num_gpus)


@contextmanager
def cluster(config: TrainConfig, address: str) -> Iterator[None]:
    """Have a Ray with room for the workers; one that was started for them ends with them."""
    if config.workers == 0:
        yield
        return
    import ray

    is_ours = start_ray(RunnerConfig(address=address, workers=config.workers))
    try:
        there = ray.cluster_resources()
        cpus, gpus = there.get("CPU", 0), there.get("GPU", 0)
        if config.workers > cpus or config.workers * config.num_gpus > gpus:
            want = counted(config.workers, "training worker wants", "training workers want")
            raise RunError(
                f"{want} a CPU and {counted(config.num_gpus, 'GPU')} each, and the cluster has "
                f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}: set workers and num_gpus to "
                f"what is there, or add nodes"
            )
        yield
    finally:
        if is_ours:
            ray.shutdown()
