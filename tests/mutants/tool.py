"""Mutmut at work on one area, in a copy of the repository that is thrown away afterwards.

Mutmut (BSD, released every few weeks) writes all changes of a function beside it, imports code and
tests once, and forks for each change only the tests that reach that function: thousands of changes
in minutes. Cosmic Ray is as well kept and changes more (decorated functions and constants too), but
starts a new pytest for every change, some seconds of imports each.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.areas import Area

ROOT = Path(__file__).parents[2]
COPIED = ("configs", "florilegium", "tests")
UNSURE = {0: "survived", 5: "no test", 33: "no test", 24: "stopped", 36: "stopped", -24: "stopped"}
"""Exit codes of tests that did not fail, or were stopped for their time: a change may never end,
or the machine was busy. These changes are tried once more. All other codes mean that a test
noticed."""
SECONDS_AGAIN = 120
"""What a single test may take when a change is tried once more."""
SECONDS = 5.0
"""What the tests of a change may take, beside their usual time, before `PATIENCE` multiplies it."""
PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of an area: how many changes were made, and each that no test noticed."""

    made: int
    survivors: tuple[str, ...]


def mutated(area: Area, folder: Path, *, processes: int) -> Found:
    """Make every change to an area and see which no test notices.

    Args:
        folder: an empty one, for the copy.

    Raises:
        subprocess.CalledProcessError: the tests fail without a change, or mutmut itself does.
    """
    _copy(folder, area)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    mutmut = Path(sys.executable).parent / "mutmut"
    command = [str(mutmut), "run", "--max-children", str(processes)]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    codes = dict(_exit_codes(folder / "mutants"))
    unsure = [name for name, code in codes.items() if code in UNSURE]

    def survives(name: str) -> bool:
        # What a shared fixture calls counts for the first test alone that uses it.
        timeout = f"--timeout={SECONDS_AGAIN}"
        command = [sys.executable, "-m", "pytest", "-x", "-q", timeout, *area.tests]
        changed = environment | {"MUTANT_UNDER_TEST": name, "PYTHONPATH": "."}
        where = folder / "mutants"
        done = subprocess.run(command, cwd=where, env=changed, capture_output=True)
        return done.returncode == 0

    with ThreadPoolExecutor(processes) as threads:
        is_survivor = list(threads.map(survives, unsure))
    survivors = [name for name, lives in zip(unsure, is_survivor, strict=True) if lives]
    changes = sorted(_changes(folder / "mutants", survivors))
    real = tuple(change for change in changes if not _is_a_guard(change))
    return Found(made=len(codes) - (len(changes) - len(real)), survivors=real)


def _is_a_guard(change: str) -> bool:
    """Whether only `strict` of a `zip` was changed, which asserts what holds anyway."""
    before, after = (re.sub(r"\s+|strict=\w+", "", side) for side in change.split(" => "))
    return before.endswith(f":{after}")


def _copy(folder: Path, area: Area) -> None:
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = {
        "source_paths": ["florilegium"],
        "only_mutate": [f"florilegium/{name}" for name in area.code],
        "pytest_add_cli_args_test_selection": [
            *area.tests,
            *(f"--deselect={name}" for name in area.slow),
        ],
        "timeout_constant": SECONDS,
        "timeout_multiplier": PATIENCE,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text("\n".join((project, "[tool.mutmut]", *lines, "")))


def _exit_codes(mutants: Path) -> Iterator[tuple[str, int]]:
    """Yield each change by name with the exit code of its tests."""
    for path in sorted(mutants.rglob("*.py.meta")):
        yield from json.loads(path.read_text())["exit_code_by_key"].items()


def _changes(mutants: Path, names: list[str]) -> Iterator[str]:
    """Yield what was changed: file, function, the line before and after."""
    sources: dict[str, Mapping[str, list[str]]] = {}
    for name in names:
        module, _, function = name.rpartition(".")
        path = f"{module.replace('.', '/')}.py"
        if path not in sources:
            sources[path] = _functions(mutants / path)
        original, _, number = function.rpartition("__mutmut_")
        before, after = (sources[path][f"{original}__mutmut_{one}"][1:] for one in ("orig", number))
        lines = list(difflib.ndiff(before, after))
        old, new = (" ".join(one[2:].strip() for one in lines if one[0] == side) for side in "-+")
        yield f"{path.removeprefix('florilegium/')} {_plain(original)}: {old} => {new}"


def _functions(path: Path) -> dict[str, list[str]]:
    """Return the lines of each function of a file, by its name."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    tree = ast.walk(ast.parse(source))
    functions = [node for node in tree if isinstance(node, ast.FunctionDef)]
    return {one.name: lines[one.lineno - 1 : one.end_lineno] for one in functions}


def _plain(mangled: str) -> str:
    """Return a function's own name: `x_f` is `f`, `xǁCǁf` is `C.f`."""
    return ".".join(mangled.removeprefix("x").removeprefix("ǁ").split("ǁ")).removeprefix("_")
