"""Starting the workers of a training.

With 0 workers it trains in this process. One worker is a task of Ray, several are those of Ray
Train: it has a controller, and so imports itself and torch in three processes, one after the other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, RunError
from florilegium.engine.execution.ray_runner import start_ray
from florilegium.engine.execution.waiting import waiting_for
from florilegium.engine.planning.config import RunnerConfig
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.worker import Outcome, OutOfMemory, TrainingJob, work

RAY = ".ray"
"""The folder in the output where Ray Train writes, while training."""


def run_workers(job: TrainingJob) -> Outcome:
    """Train with the workers of the config and return the outcome.

    Raises:
        UsageError: a worker refused the config or the dataset.
        OutOfMemory: a batch did not fit.
        RunError: a worker failed in another way; without workers, an error is raised as it is.
    """
    if job.config.workers == 0:
        return work({"job": job})
    return _by_one_task(job) if job.config.workers == 1 else _by_ray_train(job)


def _by_one_task(job: TrainingJob) -> Outcome:
    """Train in one process of Ray, which ends with the training and so frees its memory."""
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    gpus = job.config.num_gpus
    # In a group, as Ray reports whether a group waits.
    group = placement_group([{"CPU": 1, **({"GPU": gpus} if gpus else {})}])
    options = {
        "num_cpus": 1,
        "num_gpus": gpus,
        "max_calls": 1,
        "max_retries": 0,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group),
    }
    try:
        outcome: Outcome = ray.get(ray.remote(**options)(work).remote({"job": job}))
        return outcome
    except RayError as error:
        raise _cause([error.cause if isinstance(error, RayTaskError) else error]) from error
    finally:  # after an interrupt this ends the process, too
        if ray.is_initialized():  # else another student failed, and this would start a Ray
            remove_placement_group(group)


def _by_ray_train(job: TrainingJob) -> Outcome:
    """Train in several processes, which average their gradients."""
    os.environ.setdefault(
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"
    )  # else Ray polls every 2 s at the end
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    logging.getLogger("ray.train").setLevel(logging.WARNING)  # else it logs its internals
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
        return _in_thread(trainer.fit).return_value
    except TrainingFailedError as error:
        failures = list(getattr(error, "worker_failures", {}).values())
        causes = [getattr(one, "_base_exc", None) or one.__cause__ or one for one in failures]
        raise _cause(causes or [error]) from error


def _in_thread(call: Callable[[], Any]) -> Any:
    """Run a call in another thread and wait: in the main thread Ray Train would install its own
    handler of Ctrl-C for good, and exit with code 0.
    """
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result()


def _cause(causes: Sequence[BaseException]) -> FlorilegiumError:
    """Return the error of a training whose workers failed; one of ours as it was raised."""
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    for cause in causes:
        if isinstance(cause, FlorilegiumError):
            return cause
        if isinstance(cause, OutOfMemoryError):
            return OutOfMemory(str(cause))
    what = str(causes[0]).strip() or type(causes[0]).__name__
    if isinstance(causes[0], WorkerCrashedError):  # Ray knows no more
        what = "its process crashed or was killed, as the system does when memory is full"
    return RunError(
        f"a training worker failed: {what}; run the same command again: it resumes from the last "
        f"checkpoint"
    )


def waiting_workers(config: TrainConfig) -> str:
    """Return what the workers wait for; "" if they run, or there are none."""
    if config.workers == 0:
        return ""
    import ray
    from ray.util import placement_group_table

    if not ray.is_initialized():  # else the request would start a Ray
        return ""
    try:  # all workers are requested at once, by a placement group
        states = [group["state"] for group in placement_group_table().values()]
    except Exception:  # a failed request must not end the training
        return ""
    if "PENDING" not in states:
        return ""
    return waiting_for(cpus=config.workers, gpus=config.workers * config.num_gpus)


@contextmanager
def cluster(config: TrainConfig, address: str) -> Iterator[None]:
    """Connect to Ray, or start it for the block, and check that it has room for the workers."""
    if config.workers == 0:
        yield
        return
    import ray

    is_ours = start_ray(RunnerConfig(address=address, workers=config.workers))
    try:
        there = ray.cluster_resources()
        cpus, gpus = there.get("CPU", 0), there.get("GPU", 0)
        if config.workers > cpus or config.workers * config.num_gpus > gpus:
            need = counted(config.workers, "training worker needs", "training workers need")
            raise RunError(
                f"{need} a CPU and {counted(config.num_gpus, 'GPU')} each, and the cluster has "
                f"{counted(cpus, 'CPU')} and {counted(gpus, 'GPU')}: set workers and num_gpus to "
                f"these, or add nodes"
            )
        yield
    finally:
        if is_ours:
            ray.shutdown()
