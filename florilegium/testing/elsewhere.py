"""A function in a new process whose sets have another order, which shows what was not sorted."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from florilegium.testing.faults import raised

_WAIT_S = 600
_SEED = "PYTHONHASHSEED"


class FailsElsewhere(Exception):
    """A function cannot be called in a new process, or raises there."""


def called_elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of a module returns in a new process with other hashes of texts.

    Raises:
        FailsElsewhere: with what it raises there.
    """
    seed = "2" if os.environ.get(_SEED) == "1" else "1"
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory(prefix="florilegium-") as folder:
        call = Path(folder) / "call"
        call.write_bytes(pickle.dumps((function, arguments)))
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import answer; answer()", str(call)],
            env={**os.environ, _SEED: seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=_WAIT_S,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise FailsElsewhere(": ".join([f"exit code {done.returncode}", *last]))
        problem, result = pickle.loads(call.read_bytes())
    if problem:
        raise FailsElsewhere(problem)
    return result


def answer() -> None:
    """Make the call of the file that is the argument of this process, and write what it gives."""
    call = Path(sys.argv[1])
    function, arguments = pickle.loads(call.read_bytes())
    try:
        reply = "", function(*arguments)
    except Exception as error:  # of any kind, from code of the plugin
        reply = raised(error), None
    call.write_bytes(pickle.dumps(reply))
