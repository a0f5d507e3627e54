"""What errors of Ray mean for a run: a worker died, its node is gone, bytes are lost, shared memory
is full."""

from __future__ import annotations

from florilegium.engine.core.errors import (
    DataLost,
    FlorilegiumError,
    RunError,
    StoreFull,
    WorkerDied,
)
from florilegium.engine.core.image.header import OUT_OF_MEMORY

_NODE_DIED = "its node has died"
"""What Ray writes when an actor went with its node, not by itself ("its worker process has died");
no attribute of the error tells them apart."""


class NodeLost(RunError):
    """The node of a worker is gone, or cannot be reached: no call is to blame."""


def explained(error: Exception, pool: str) -> FlorilegiumError:
    """Return the engine's error for an error of Ray."""
    from ray.exceptions import (
        ActorUnavailableError,
        ObjectLostError,
        ObjectStoreFullError,
        OutOfDiskError,
        OutOfMemoryError,
        RayActorError,
        RayTaskError,
    )

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, FlorilegiumError):
        return cause
    if isinstance(cause, ObjectLostError):
        return DataLost(f"a node left with the bytes of a shard: {last_line(cause)}")
    if isinstance(cause, ObjectStoreFullError | OutOfDiskError):
        return StoreFull(
            f"the shared memory of Ray is full, and so is the disk behind it: {last_line(cause)}; "
            f"raise runner.object_store_mb, make room in the temporary folder, or lower shard_size"
        )
    if isinstance(cause, OutOfMemoryError):
        return WorkerDied(last_line(cause), reason=OUT_OF_MEMORY)
    if isinstance(cause, ActorUnavailableError) or (
        isinstance(cause, RayActorError) and (cause.preempted or _NODE_DIED in str(cause))
    ):
        return NodeLost(f"the node of a worker of pool {pool!r} is gone: {last_line(cause)}")
    if isinstance(cause, RayActorError) and not cause.actor_init_failed:
        return WorkerDied(last_line(cause))
    what = f"{type(cause).__name__}: {last_line(cause)}"
    return RunError(f"a worker of pool {pool!r} failed: {what}")


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, where Ray states the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
