"""Another program on the cluster, which fills the shared memory of every node for some seconds.

python -m tests.chaos.hog ADDRESS SECONDS
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

FULL = "shared memory is full:"
"""How the line begins that says so."""
PIECE_BYTES = 1 << 20
PATIENCE_S = 60.0


class Hog:
    """Holds all shared memory of its node until it is killed."""

    def fill(self) -> int:
        """Put objects until no other fits; return how many there are."""
        self._held = []
        with suppress(ObjectStoreFullError, OutOfDiskError):
            while True:
                self._held.append(ray.put(np.zeros(PIECE_BYTES, np.uint8)))
        return len(self._held)


def main() -> None:
    """Fill all nodes, wait, and go."""
    address, seconds = sys.argv[1:]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    hogs = [_hog_on(node["NodeID"]) for node in ray.nodes() if node["Alive"]]
    pending = [hog.fill.remote() for hog in hogs]
    filled, _ = ray.wait(pending, num_returns=len(pending), timeout=PATIENCE_S)
    held = 0
    for one in filled:
        with suppress(RayError):  # its node was killed
            held += ray.get(one)
    sys.stdout.write(f"{FULL} {held} MiB more\n" if held else "nothing fits\n")
    sys.stdout.flush()
    time.sleep(float(seconds))


def _hog_on(node: str) -> Any:
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(Hog).options(num_cpus=0, scheduling_strategy=where).remote()


if __name__ == "__main__":
    main()
