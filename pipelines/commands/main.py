"""The command line `florilegium`: `_COMMANDS` has all commands by the headings of `--help`.

Parses, calls, prints and exits with a code of `ExitCode`. Everything heavy is imported inside a
command, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Annotated, Any

import typer

from florilegium.engine.core.errors import FlorilegiumError, OutputInUse, UsageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.unused_memory import let_arrow_use_malloc
from florilegium.pipelines.commands.build import build, plan
from florilegium.pipelines.commands.cluster import jobs, submit
from florilegium.pipelines.commands.configs import configs
from florilegium.pipelines.commands.dataset import clean, report, sign, status, verify, why
from florilegium.pipelines.commands.doctor import doctor
from florilegium.pipelines.commands.export import export
from florilegium.pipelines.commands.importing import import_
from florilegium.pipelines.commands.new import new
from florilegium.pipelines.commands.options import err, out
from florilegium.pipelines.commands.reference import (
    exporters,
    importers,
    rules,
    schema,
    sources,
    stages,
)
from florilegium.pipelines.commands.refine import diff, refine, score, train
from florilegium.pipelines.commands.refresh import refresh
from florilegium.pipelines.commands.serve import serve
from florilegium.pipelines.commands.try_stage import try_stage
from florilegium.pipelines.terminal.exit_codes import ExitCode

if TYPE_CHECKING:
    from florilegium.pipelines.terminal.stopping import Stop

app = typer.Typer(
    name="florilegium",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
_USAGE_ERROR = typer.BadParameter.__mro__[1]
"""The base class of errors about arguments and options; typer bundles its own click."""
_SAFE_PATH = "PYTHONSAFEPATH"


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        out.say(f"florilegium {version('florilegium')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Build vision datasets: models annotate images, filters judge, WebDataset shards come out."""


_COMMANDS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Build": (build, refresh, plan, submit),
    "Look at a dataset": (status, report, serve, why, verify, diff),
    "Use and keep it": (export, import_, sign, clean),
    "Refine Florence-2": (refine, train, score),
    "List and describe": (configs, stages, sources, rules, exporters, importers, schema),
    "Plugins and this machine": (new, try_stage, doctor),
}
"""By the headings of `--help`, in its order."""
_NAMES = {try_stage: "try", import_: "import"}
"""Names that a function of Python cannot have."""
for _heading, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(_NAMES.get(_command), rich_help_panel=_heading)(_command)
app.add_typer(jobs, name="job", rich_help_panel="Build")


def main() -> None:
    """Run the command line and exit with its code."""
    from florilegium.pipelines.terminal.stopping import stoppable

    let_arrow_use_malloc()
    with _outside_of_current_folder(), stoppable() as stop:
        code = _run(stop)
        if stop.is_asked or code == ExitCode.INTERRUPTED:
            stop.end()
    sys.exit(code)


def _run(stop: Stop) -> int:
    """Run a command and return its exit code. Errors after a signal are not shown: a library that
    is interrupted in an import or a callback raises errors of its own."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # else some letters raise
            stream.reconfigure(errors="backslashreplace")
    logging.lastResort = _Labelled(logging.WARNING)
    try:
        code = app(standalone_mode=False, obj=stop)
        return code if isinstance(code, int) else ExitCode.DONE
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:
        if stop.is_asked:
            return ExitCode.INTERRUPTED
        if isinstance(error, FlorilegiumError):
            err.error(str(error))
            return _exit_code(error)
        return _unexpected(error)


class _Labelled(logging.Handler):
    """Prints what is logged while no log is shown, with its label as all other warnings have."""

    def emit(self, record: logging.LogRecord) -> None:
        err.say(self.format(record), label=record.levelname.lower(), style="yellow")


def _unexpected(error: Exception) -> int:
    """Print a usage error, the file that failed, or else a traceback: a bug."""
    from florilegium.engine.storage.failure import CURES, is_of_client, storage_error

    if isinstance(error, _USAGE_ERROR):
        _show_usage(error)
        return ExitCode.USAGE
    is_of_system = isinstance(error, OSError) and error.errno in CURES
    if is_of_system or is_of_client(error):
        # A file outside of a dataset, such as a plan or an export.
        name = getattr(error, "filename", None) or "a file"
        err.error(str(storage_error("use", str(name), error)))
    else:
        err.say(redacted("".join(format_exception(error)).rstrip()))
    return ExitCode.FAILED


@contextmanager
def _outside_of_current_folder() -> Iterator[None]:
    """Keep Python from importing modules from the current folder, here and in child processes:
    `python -m`, `python -c` and `multiprocessing` put it first on the path.

    It stays on the path if this program lies in it, or PYTHONPATH names it.
    """
    here, ours = os.getcwd(), str(Path(__file__).parents[3])
    chosen = map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    is_left_out = here not in (ours, *chosen) and sys.path[:1] in ([""], [here])
    left_out = [sys.path.pop(0)] if is_left_out else []
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        sys.path[:0] = left_out
        os.environ.pop(_SAFE_PATH)
        if before is not None:
            os.environ[_SAFE_PATH] = before


def _show_usage(error: Any) -> None:
    """Print the usage and the error of click; its text may have a file name in it."""
    if error.ctx is not None and error.ctx.command_path:
        err.say(error.ctx.get_usage())
    if message := error.format_message():
        err.error(message.replace(": Value error, ", ": "))


def _exit_code(error: FlorilegiumError) -> int:
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    return ExitCode.IN_USE if isinstance(error, OutputInUse) else ExitCode.FAILED
