"""Starts the command line on the head node. This file goes along with every submission and needs
nothing but Python.

Ray runs the command of a job with the environment of `ray start`: where its `PATH` does not lead
to Ray's own Python, `python` is another one or none. `/proc/PID/exe` of the job's parent is that
Python without its virtual environment. It runs this file, which finds the whole path in the command
line of the raylet, its parent: `--python_worker_command=PYTHON ...`. The raylet names its cluster,
too; Ray itself takes any one where several run on a machine. A job with `--pip` has an environment
of its own, which `VIRTUAL_ENV` names.
"""

import os
import runpy
import sys
from importlib import metadata, util

USAGE = 2
_PYTHON, _CLUSTER, _PIP, _FOUND = "--python_worker_command=", "--gcs-address=", "--pip", "--found"


def main(arguments: list[str]) -> None:
    """Run a command: `[--pip] VERSION COMMAND...`, with the version that submitted it."""
    if arguments[0] == _FOUND:
        _run(*arguments[1:])
        return
    raylet = command_of(parent_of(os.getppid()))
    python = python_of(raylet)
    if arguments[0] == _PIP:
        del arguments[0]
        python = os.path.join(os.environ["VIRTUAL_ENV"], "bin", "python")
    os.environ["RAY_ADDRESS"] = value_of(raylet, _CLUSTER) or os.environ["RAY_ADDRESS"]
    os.execv(python, [python, "-P", __file__, _FOUND, *arguments])


def python_of(raylet: list[str]) -> str:
    """Return the path of the Python that a raylet starts its workers with."""
    python = value_of(raylet, _PYTHON).split(" ")[0]
    if not os.path.isabs(python):
        fail("cannot find Ray's Python: the parent of the job's parent is no raylet")
    return python


def value_of(command: list[str], option: str) -> str:
    """Return the value of an option, or "" where it is not there."""
    return next((one[len(option) :] for one in command if one.startswith(option)), "")


def parent_of(process: int) -> int:
    """Return the number of a process's parent."""
    with open(f"/proc/{process}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("PPid:"))


def command_of(process: int) -> list[str]:
    """Return the command line of a process."""
    with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:
        return file.read().split("\0")


def fail(message: str) -> None:
    """Print an error and exit as after wrong usage."""
    sys.stderr.write(f"error {message}\n")
    sys.exit(USAGE)


def _run(version: str, *command: str) -> None:
    if util.find_spec("florilegium") is None:
        fail(
            f"florilegium is not installed in {sys.executable}, the Python of this cluster: "
            f"install it on every node, or submit with --pip 'florilegium=={version}'"
        )
    here = metadata.version("florilegium")
    if here != version:
        sys.stderr.write(f"warning this cluster has florilegium {here}, submitted by {version}\n")
    sys.argv[1:] = command
    runpy.run_module("florilegium", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
