"""Which runner a build takes, where its config leaves that open: one process, or Ray.

A Ray of our own takes seconds to start, and each of its workers imports and loads the same again:
that pays when there is much to ask. Shards are the same bytes with all runners, so a choice that
was wrong costs time only.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable

from florilegium.engine.core.counted import counted
from florilegium.engine.execution.local_runner import LocalRunner
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.runner import Opened
from florilegium.engine.execution.scheduler import Job
from florilegium.engine.execution.worker import ShardWork
from florilegium.engine.planning.graph import CPU_POOL, Graph
from florilegium.engine.results.layer_store import LayerStore
from florilegium.engine.results.shard import ShardBytes

SMALL = 12
"""Images that one process may be asked about, at most, in place of a Ray: on 2 CPUs, the shipped
quickstart takes as long with both at about 16."""
SMALL_TO_PUBLISH = 512
"""Images of shards that one process may judge and write, at most, when no stage has anything to
ask."""


class SomethingToAsk(Exception):
    """A shard lacks answers, which a runner that only publishes does not get."""


class PublishingRunner(LocalRunner):
    """Judges and writes shards of which all layers are there, in one child process; opening any
    other raises `SomethingToAsk`."""

    def _opened(self, work: ShardWork, images: ShardBytes) -> Opened:
        if any(work.todo.values()):
            raise SomethingToAsk(work.shard.name)
        return super()._opened(work, images)


def one_process(run: Run, jobs: Iterable[Job]) -> str:
    """Return why a build whose config has `runner: auto` takes one process; "" where it takes Ray.

    It does where few images are asked about by stages on CPUs alone, and the config states nothing
    that only Ray does.
    """
    has_pools = any(node.pool != CPU_POOL for node in run.graph.layered)
    if not run.config.runner.is_open or has_pools:
        return ""
    images = _images(jobs)
    if images is None or images > SMALL or not _fits_one_process(run.graph):
        return ""
    return f"runner: one process, which is done with {counted(images, 'image')} before Ray is"


def may_be_answered(run: Run, jobs: Iterable[Job]) -> bool:
    """Whether it is worth to look, before a Ray is started, if all stages have answered already.

    That may be so where all shards were finished before, and each stage has layers: a threshold is
    another one, or images have gone.
    """
    runner = run.config.runner
    if not (runner.may_be_ray and runner.address == "local"):
        return False
    images = _images(jobs)
    if images is None or images > SMALL_TO_PUBLISH:
        return False
    if not all(job.previous_digest and not job.retry for job in jobs):
        return False
    layers = LayerStore(run.layers)
    return all(map(layers.has_any, run.graph.layered)) and _fits_one_process(run.graph)


def _images(jobs: Iterable[Job]) -> int | None:
    """Return the number of images of some jobs, or any that is too large; `None` where archives are
    to be read for that."""
    images = 0
    for job in jobs:
        images += len(job.spec.entries)
        if job.spec.is_packed:
            return None
        if images > SMALL_TO_PUBLISH:  # the others are not looked at: there may be very many
            break
    return images


def _fits_one_process(graph: Graph) -> bool:
    """Whether this process has no Ray yet, and the stages can be sent to another one without it."""
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return False
    try:
        pickle.dumps(graph)
    except Exception:  # a class may raise anything when it is pickled; Ray can do more
        return False
    return True
