"""Every operation of a build on its output, in order, and something that goes wrong at one of them.

A build makes the same operations in the same order each time, so a fault at operation 17 of the
build is the same fault tomorrow. What is wrapped is the seam through which all files go: opening,
writing, syncing, renaming and deleting; beside it the start, the reading of shards, and answers.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from florilegium.engine.execution import finished, log, preparation, worker
from florilegium.engine.execution.call import WorkerCall
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage import folder as storage
from florilegium.pipelines.build import build_dataset
from tests.building import configure
from tests.end_to_end.dying import context

_DIGEST = re.compile(rb"# sha256 of all lines before this one: [0-9a-f]{64}\n")
"""The last line of run.yaml, which has the path of the output in it."""
_KINDS = {
    ".lease/": "lease",
    "layers/source-": "receipt",
    "layers/": "layer",
    "versions/": "version",
    "manifest.json": "manifest",
    "index.parquet": "index",
    "state.parquet": "state",
    "dead_letters.parquet": "dead letters",
    "statistics.json": "statistics",
    "report.html": "report",
    "README.md": "card",
}
"""Kinds of files by how their names begin; any other name is its own kind."""

_STEPS = (
    (preparation, "open_source"),
    (preparation, "plan"),
    (finished, "read_index"),
    (finished, "partition"),
    (finished, "FinishedShards"),
)
"""Functions by which a build starts, and the modules that call them."""


class Point(NamedTuple):
    """An operation of a build: on which kind of file, and what is done."""

    kind: str
    operation: str


Act = Callable[[], None]
"""What goes wrong at a point; it may end the process or raise."""


def kill() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Watch:
    """Counts the points of a build as they come; at number `at`, something happens."""

    def __init__(self, output: Path, *, at: int = -1, act: Act = kill) -> None:
        self.points: list[Point] = []
        self._output = f"{output}/"
        self._at = at
        self._act = act
        self._descriptors: dict[int, str] = {}
        self._names: dict[str, str] = {}  # kinds of temporary files, by path
        self._drafts: list[str] = []

    def reach(self, kind: str, operation: str, *, before: Act = lambda: None) -> None:
        """Come to a point; `before` is still done when something is to happen there."""
        self.points.append(Point(kind, operation))
        if len(self.points) == self._at + 1:
            before()
            self._act()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch while the block runs."""
        with ExitStack() as stack:
            for module, name in _STEPS:
                self._wrap(stack, module, name, lambda *_, name=name: ("start", name))
            self._wrap(stack, worker, "read_shard", lambda *_: ("reading", "before"))
            self._wrap(stack, WorkerCall, "ask", lambda *_: ("answers", "before"), is_after=True)
            for target, name in ((storage.Folder, "draft"), (storage.Folder, "create")):
                stack.enter_context(patch.object(target, name, self._naming(getattr(target, name))))
            stack.enter_context(patch.object(storage, "open", self._open, create=True))
            stack.enter_context(
                patch.object(log._LogFile, "_open", lambda one: self._open_log(one))
            )
            for name in ("replace", "unlink", "remove"):
                self._wrap(stack, os, name, partial(self._of_path, name))
            self._wrap(stack, os, "fsync", lambda fd: (self._descriptors.get(fd, ""), "fsync"))
            yield

    def _wrap(
        self,
        stack: ExitStack,
        target: Any,
        name: str,
        point: Callable[..., tuple[str, str]],
        *,
        is_after: bool = False,
    ) -> None:
        function = getattr(target, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            kind, operation = point(*args)
            if kind:
                self.reach(kind, operation)
            result = function(*args, **options)
            if is_after:
                self.reach(kind, "after")
            return result

        stack.enter_context(patch.object(target, name, wrapped))

    def _naming(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Remember what the file is that is written now; of two drafts, the second is Parquet."""

        def create(folder: Any, name: str, data: bytes) -> bool:
            self._drafts.append(self._below(folder.path(name)))
            try:
                return function(folder, name, data)
            finally:
                self._drafts.pop()

        @contextmanager
        def draft(folder: Any, name: str, **options: Any) -> Iterator[Any]:
            path = self._below(folder.path(name))
            if path.startswith("shards/") and not path.endswith(".json"):
                path += ".parquet" if f"{path}.tar" in self._drafts else ".tar"
            self._drafts.append(path)
            try:
                with function(folder, name, **options) as given:
                    yield given
            finally:
                self._drafts.pop()

        return create if function.__name__ == "create" else draft

    def _kind(self, name: str) -> str:
        if name.startswith("shards/"):
            return {"json": "shard statistics"}.get(suffix := name.rpartition(".")[2], suffix)
        return next((kind for begin, kind in _KINDS.items() if name.startswith(begin)), name)

    def _of_path(self, operation: str, path: Any, *_: Any) -> tuple[str, str]:
        name = self._below(str(path))
        return name and (self._names.get(str(path)) or self._kind(name)), operation

    def _below(self, path: str) -> str:
        """Return a path below the output; nothing where it lies elsewhere."""
        return path.removeprefix(self._output) if path.startswith(self._output) else ""

    def _open(self, path: Any, mode: str = "r", **options: Any) -> Any:
        kind = self._kind(self._drafts[-1]) if self._drafts else ""
        if not kind:
            return open(path, mode, **options)
        self._names[str(path)] = kind
        self.reach(kind, "open")
        return _File(open(path, mode, **options), kind, self)

    def _open_log(self, handler: Any) -> Any:
        self.reach("run.log", "open")
        return _File(open(handler.baseFilename, "a", encoding="utf-8"), "run.log", self)

    def write(self, file: Any, kind: str, data: Any) -> Any:
        """Write to a file; where something happens, half of it."""
        self._descriptors[file.fileno()] = kind
        written = 0

        def half() -> None:
            nonlocal written
            written = file.write(data[: len(data) // 2])
            file.flush()

        self.reach(kind, "write", before=half)
        return written + file.write(data[written:])


class _File:
    """A file whose writes are watched."""

    def __init__(self, file: Any, kind: str, watch: Watch) -> None:
        self._file, self._kind, self._watch = file, kind, watch
        self._is_open = True

    def write(self, data: Any) -> Any:
        return self._watch.write(self._file, self._kind, data)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._watch.reach(self._kind, "close")
            finally:
                self._file.close()

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def whole_build(source: Path, output: Path, **keys: Any) -> Manifest:
    """Build a dataset as the command does: with the lease, the card and the report.

    In this process, unless another runner is given: what workers of their own do is not watched.
    """
    keys = {"runner": {"kind": "in_process"}, **keys}
    return build_dataset(prepare(configure(source, output, **keys)))


def files_of(output: Path) -> dict[str, bytes]:
    """Return every file of an output but the lock, the log and the state, which has times of files,
    free of the output's own path.

    What is hidden is there, too: it must not be.
    """
    found = {
        str(path.relative_to(output)): _DIGEST.sub(
            b"", path.read_bytes().replace(str(output).encode(), b"OUTPUT")
        )
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }
    others = (".lease/lock", "run.log", "state.parquet")
    return {name: data for name, data in found.items() if name not in others}


def points_of(source: Path, output: Path, keys: dict[str, Any]) -> list[Point]:
    """Build in another process, undisturbed, and return the points it came to."""
    receiver, sender = context().Pipe(duplex=False)
    assert _run(source, output, keys, -1, sender) == 0
    return receiver.recv()


def build_and_die(source: Path, output: Path, keys: dict[str, Any], at: int) -> None:
    """Build in another process, which is killed at a point."""
    assert _run(source, output, keys, at, None) == -signal.SIGKILL


def _run(source: Path, output: Path, keys: dict[str, Any], at: int, sender: Any) -> int:
    process = context().Process(target=_child, args=(source, output, keys, at, sender))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


def _child(source: Path, output: Path, keys: dict[str, Any], at: int, sender: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the progress of a build is not looked at
    watch = Watch(output, at=at)
    with watch.on():
        whole_build(source, output, **keys)
    if sender is not None:
        sender.send(watch.points)
