"""What follows when a worker dies: how its call is cut, and the error of what is to blame."""

from __future__ import annotations

import math
from collections.abc import Sequence

from florilegium.engine.core.errors import RunError, SampleError, WorkerDied
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.layer import StageError
from florilegium.engine.results.shard import Spot

PIECES = 8
"""Parts into which a call is cut when its worker died."""
STRIKES = 2
"""Times that workers die while an image is alone in them, before it is asked stage by stage, and
given up at the next death: what kills processes by chance hardly meets the same image so often."""


def pieces(samples: Sequence[int], suspects: Sequence[int]) -> list[Sequence[int]]:
    """Cut a call whose worker died; where the suspects are known, each of them is alone."""
    known = set(suspects).intersection(samples)
    if not known:
        size = math.ceil(len(samples) / PIECES)
        return [samples[start : start + size] for start in range(0, len(samples), size)]
    others = [number for number in samples if number not in known]
    return [*([others] if others else []), *([number] for number in sorted(known))]


def blamed(number: int, error: WorkerDied) -> StageError:
    """Return the failure of the image of which workers die."""
    message = str(error) if error.stage else f"the worker process died on this image: {error}"
    return StageError(sample=number, reason=error.reason, message=message, attempt=STRIKES)


def error_of(spot: Spot, error: WorkerDied) -> SampleError:
    """Return the error of the input of which workers die."""
    what = "decoded" if spot.is_decoding else "read"
    died = f"the worker process died while it was {what}: {error}"
    return SampleError(error.reason, str(error) if error.stage else died)


def unreadable(spec: ShardSpec, error: WorkerDied) -> RunError:
    """Return the error for when workers die reading this shard, and no single input is to blame."""
    first = spec.entries[0].item.location
    return RunError(
        f"reading shard {spec.name}, which begins with {first}, killed its worker each time: "
        f"{error}; if the input is large, cut it into smaller ones"
    )
