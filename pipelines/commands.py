"""The command line: `florilegium build | plan | refine | train | score | diff | status | ...`.

Parses, calls, prints and exits: 0 done, 1 failed, 2 wrong usage or config, 3 the output is being
written by another command. Everything heavy is imported inside a command, so that `--help` answers
at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.counted import counted
from engine.errors import FlorilegiumError, OutputInUse, UsageError
from engine.escaped import json_text
from engine.redaction import redacted
from pipelines.terminal import Terminal

if TYPE_CHECKING:
    from pipelines.stopping import Stop

app = typer.Typer(
    name="florilegium",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
_TYPED_WRONG = typer.BadParameter.__mro__[1]
"""Every error about arguments and options, whichever click it is that typer brings."""
_SAFE_PATH = "PYTHONSAFEPATH"
INTERRUPTED = 130
"""What a shell calls the exit after Ctrl-C."""
out = Terminal()
err = Terminal(stderr=True)

Directory = Annotated[str, typer.Argument(metavar="DIR", help="The folder of a dataset.")]


SourceOption = Annotated[str | None, typer.Option("--source", help="Read the images from here.")]
OutputOption = Annotated[str | None, typer.Option("--output", help="Write the dataset here.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=C", help="Override a key: shard_size=64, filters.nms=null (off)."
    ),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Let samples go whose source the config no longer reads."),
]
MaxDeadLetterShare = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Fail when more than this share of the inputs is lost; default 0.1."
    ),
]
NoPlugins = Annotated[
    bool,
    typer.Option(
        "--no-plugins", help="Refuse a config that names modules: run what is installed only."
    ),
]
PluginPath = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin-path", metavar="DIR", help="Search this folder for modules, too; `.` is here."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, print the plan, stop.")]


class Until(StrEnum):
    """Where a refinement can be told to stop."""

    CANDIDATES = "candidates"


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
    """Build vision datasets: specialists say, filters judge, the engine moves and remembers."""


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/quickstart.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    runner: Annotated[
        str | None, typer.Option(help="`ray`, `local` (one worker process), `in_process`.")
    ] = None,
    overrides: Overrides = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Workers as `florilegium plan` shared them out.")
    ] = None,
    dry_run: DryRun = False,
    max_dead_letter_share: MaxDeadLetterShare = None,
    retry_dead_letters: Annotated[
        bool, typer.Option("--retry-dead-letters", help="Try images that failed again.")
    ] = False,
    replace: Replace = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read finished shards; make damaged ones again.")
    ] = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
) -> None:
    """Build a dataset, or bring it up to date: what is done is not done again."""
    from engine.config import RunConfig, load_document, validated
    from engine.losses import refuse_losses, told
    from engine.plugins import modules_of, refuse_plugins
    from engine.run import prepare
    from pipelines.build import build_dataset
    from pipelines.dry_run import dry_run_lines, refuse_problems
    from pipelines.tables import plan_table, print_table, totals_table

    runners = [f"runner.kind={runner}"] if runner else []
    changes = _given(
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    changed = [*(overrides or []), *runners]
    document = load_document(config, changes=changes, overrides=changed, plan=plan_file)
    if "refine" in document:
        raise UsageError(f"{config} describes a refinement: `florilegium refine {config}` runs it")
    loaded = validated(RunConfig, document, where=str(config))
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded))
    run = prepare(loaded, is_dry=dry_run, imports_modules=not dry_run)
    if dry_run:
        print_table(out, plan_table(run))
        for line in dry_run_lines(run):
            out.say(line)
        refuse_problems(run)
        return
    manifest = build_dataset(run, retry=retry_dead_letters, replace=replace, check=check)
    totals = manifest.totals
    print_table(out, totals_table(totals))
    became = f"{counted(totals.samples, 'sample')} + {counted(totals.dead_letters, 'dead letter')}"
    out.say(f"{counted(totals.inputs, 'image')} = {became}")
    for line in told(letter for _, letter in manifest.dead_letters):
        out.say(line)
    for line in manifest.remarks:
        out.say(line)
    out.say(f"dataset  {run.output.url}")
    out.say(f"report   {run.output.url}/report.html")
    refuse_losses(manifest, run.config.max_dead_letter_share)


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/fld5b.yaml.")],
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    samples: Annotated[int, typer.Option(min=1, help="Images that are sent through.")] = 32,
    save: Annotated[
        Path | None, typer.Option(help="Write the pools here, for `build --plan`.")
    ] = None,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
) -> None:
    """Measure each stage on some images; share the cluster out; predict time and bytes."""
    from engine.config import RunConfig, load_config
    from engine.plugins import modules_of, refuse_plugins
    from engine.progress import Progress
    from engine.run import prepare
    from pipelines.display import shown
    from pipelines.plan.allocation import allocate
    from pipelines.plan.measure import measure
    from pipelines.plan.table import costs_table, plan_file, pools_table, prediction
    from pipelines.tables import print_table

    if save and not save.parent.is_dir():
        raise UsageError(f"there is no folder {save.parent} to save the plan in: make it first")
    changes = _given(source=source, output=output, plugin_path=plugin_path)
    loaded: RunConfig = load_config(config, changes=changes, overrides=overrides or [])
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded))
    run = prepare(loaded)
    progress = Progress(current="reading a sample")
    with shown(progress):
        measured = measure(run, samples, on_stage=partial(setattr, progress, "current"))
    print_table(out, costs_table(measured))
    allocation = allocate(measured, cpu_workers=run.config.runner.workers)
    print_table(out, pools_table(allocation))
    for line in prediction(measured, allocation):
        out.say(line)
    if save:
        save.write_text(plan_file(measured, allocation), encoding="utf-8")
        out.say(f"plan       {save}")


@app.command()
def refine(
    config: Annotated[Path, typer.Argument(help="A YAML file with `refine`.")],
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    max_dead_letter_share: MaxDeadLetterShare = None,
    until: Annotated[
        Until | None,
        typer.Option(
            help="Stop there: `candidates` are what is to be audited, with a file for it."
        ),
    ] = None,
    dry_run: DryRun = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
) -> None:
    """Train Florence-2 on the labels, let it relabel, merge, measure; round after round."""
    from engine.config import load_document, validated
    from engine.plugins import modules_of, refuse_plugins
    from pipelines.refine.config import RefineConfig
    from pipelines.refine.loop import check
    from pipelines.refine.loop import refine as run_loop
    from pipelines.refine.plan import plan_lines
    from pipelines.refine.table import audit_lines, round_line
    from pipelines.refine.to_audit import prepare_audit
    from pipelines.tables import plan_table, print_table

    changes = _given(
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    document = load_document(config, changes=changes, overrides=overrides or [])
    if "refine" not in document:
        raise UsageError(f"{config}: the key 'refine' is missing; `florilegium build` needs none")
    loaded = validated(RefineConfig, document, where=str(config))
    if no_plugins:
        refuse_plugins(loaded, modules_of(loaded, ("refine.students", loaded.refine.students)))
    if dry_run:
        first, later = check(loaded, is_dry=True)
        print_table(out, plan_table(first))
        for line in plan_lines(loaded, first, later):
            out.say(line)
        return
    if until is None:
        rounds = run_loop(loaded, finished=lambda one: out.say(round_line(one)))
        promoted = max(one.number for one in rounds if one.is_promoted)
        out.say(f"dataset  {loaded.output}, round {promoted}")
        out.say(f"report   {loaded.output}/report.html")
    if until is Until.CANDIDATES or not (loaded.refine.rounds or loaded.refine.audit):
        for line in audit_lines(prepare_audit(loaded)):
            out.say(line)


@app.command()
def train(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a finished dataset.")],
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/train.yaml.")],
    output: Annotated[Path, typer.Option(help="Write the checkpoint here.")],
    overrides: Overrides = None,
    no_plugins: NoPlugins = False,  # the config of a training names no class
) -> None:
    """Train Florence-2 on a finished dataset, its own tasks or one of yours."""
    from engine.config import load_document, validated
    from engine.progress import Progress
    from pipelines.display import shown
    from pipelines.training.config import TrainConfig
    from pipelines.training.trainer import train as run_training

    document = load_document(config, overrides=overrides or [])
    options = validated(TrainConfig, document, where=str(config))
    progress = Progress(current="starting")
    with shown(progress):
        show = partial(progress.train, "training")
        result = run_training(
            run,
            options,
            output,
            on_progress=show,
            on_survey=lambda found: _warn(found.unfed),
            on_wait=partial(setattr, progress, "waiting"),
            on_note=progress.notes.append,
        )
    for task, loss in result.losses.items():
        out.say(f"{task:30} {counted(result.examples[task], 'example'):>18}, loss {loss:.4f}")
    _warn([task for task in options.chosen if task not in result.examples])
    out.say(f"checkpoint  {output}")


@app.command()
def score(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Compare the merge rules on the last round's voters.")
    ] = False,
) -> None:
    """Measure a dataset of a known world against its truth, round by round where there are any."""
    from engine.storage import Folder
    from pipelines.refine.scores import score_rounds, score_rules
    from pipelines.score.table import score_table
    from pipelines.tables import print_table

    scores = (score_rules if rules else score_rounds)(Folder(directory))
    if as_json:
        found = {name: one.to_json() for name, one in scores.items()}
        out.say(json_text(found))
    else:
        print_table(out, score_table(scores))


@app.command()
def diff(
    directory: Directory,
    before: Annotated[int, typer.Argument(metavar="ROUND_A", help="A round's number.")],
    after: Annotated[int, typer.Argument(metavar="ROUND_B", help="Another round's number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which labels were added, changed and dropped between two rounds of a refinement."""
    from engine.storage import Folder
    from pipelines.refine.diff import diff_rounds
    from pipelines.refine.diff_table import diff_lines, diff_table
    from pipelines.tables import print_table

    found = diff_rounds(Folder(directory), before, after)
    if as_json:
        out.say(json_text(found.to_json()))
    else:
        print_table(out, diff_table(found))
        for line in diff_lines(found):
            out.say(line)


@app.command("export-florence2")
def export_florence2(
    directory: Directory,
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/train.yaml.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    overrides: Overrides = None,
    no_plugins: NoPlugins = False,  # the config of a training names no class
) -> None:
    """Write the training set of a dataset as the JSONL that Florence-2 fine-tuning tools read."""
    from engine.config import load_document, validated
    from pipelines.training.config import TrainConfig
    from pipelines.training.export import export_jsonl

    document = load_document(config, overrides=overrides or [])
    exported = export_jsonl(directory, validated(TrainConfig, document, where=str(config)), output)
    _warn([task for task, lines in exported.tasks.items() if not lines])
    for part, lines in exported.lines.items():
        images = counted(exported.images[part], "image")
        out.say(f"{part:6} {images}, {counted(lines, 'line')}")
    out.say(str(output))


@app.command()
def examples(
    directory: Directory,
    audit: Annotated[str, typer.Argument(help='A file of {"id": ..., "right": true} lines.')],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    per_task: Annotated[int, typer.Option(min=1, help="Examples of each task at most.")] = 16,
) -> None:
    """Write captions that an audit found right, as examples for a few-shot annotator."""
    from pipelines.few_shot import EXAMPLES, write_examples

    for task, count in write_examples(directory, audit, output, per_task).items():
        out.say(f"{task:22} {counted(count, 'example')}")
    out.say(f"{output}/{EXAMPLES}")


@app.command()
def status(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how far a dataset is."""
    from engine.storage import Folder
    from pipelines.refine.lineage import read_lineage
    from pipelines.refine.table import round_line
    from pipelines.status import read_status
    from pipelines.tables import print_table, status_table

    folder = Folder(directory)
    found, rounds = read_status(folder), read_lineage(folder)
    if as_json:
        out.say(json_text(found.to_json()))
        return
    print_table(out, status_table(found))
    for one in rounds:
        out.say(round_line(one))


@app.command()
def verify(
    directory: Directory,
    public_key: Annotated[
        Path | None, typer.Option(help="A public Ed25519 key (PEM) that must fit the signature.")
    ] = None,
) -> None:
    """Read every file of a finished dataset: digests, counts, schema, where it comes from."""
    from engine.storage import Folder
    from pipelines.verify import verify_dataset

    checked: set[str] = set()
    problems = list(verify_dataset(Folder(directory), checked=checked))
    if public_key is not None:
        from pipelines.signature import check_signature

        problems += check_signature(Folder(directory), public_key)
    for problem in problems:
        err.say(problem, label="wrong", style="red")
    if problems:
        raise typer.Exit(1)
    files = counted(len(checked), "file")
    out.say(f"{directory}: {files} read, every digest, count and field is right")


@app.command()
def sign(
    directory: Directory,
    key: Annotated[Path, typer.Option(help="A private Ed25519 key (PEM, no password).")],
) -> None:
    """Verify a finished dataset and sign its manifest; `verify --public-key` checks that."""
    from engine.manifest import SIGNATURE
    from engine.storage import Folder
    from pipelines.signature import sign as sign_manifest

    folder = Folder(directory)
    sign_manifest(folder, key)
    out.say(folder.path(SIGNATURE))


@app.command()
def clean(
    directory: Directory,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how much would go, delete nothing.")
    ] = False,
) -> None:
    """Delete the layers that the dataset no longer needs, and say how much that was."""
    from engine.storage import Folder
    from pipelines.clean import clean as clean_layers

    cleaned = clean_layers(Folder(directory), is_dry=dry_run)
    what = f"{counted(cleaned.files, 'file')} of {counted(cleaned.stages, 'stage')}"
    kept = counted(cleaned.kept, "file is", "files are")
    verb = "would delete" if dry_run else "deleted"
    line = f"{verb} {what}, {cleaned.bytes / 1e6:.1f} MB; {kept} needed"
    out.say(line)


@app.command()
def why(
    directory: Directory,
    image: Annotated[
        str, typer.Argument(help="Its key, its path or the end of it, or 6 digits of its SHA-256.")
    ],
) -> None:
    """Print everything that was said about an image, by whom, and what became of it."""
    from engine.storage import Folder
    from pipelines.why import explain

    for line in explain(Folder(directory), image):
        out.say(line)


@app.command()
def report(directory: Directory) -> None:
    """Draw the report of a dataset again."""
    from engine.storage import Folder
    from pipelines.build import draw_again

    folder = Folder(directory)
    draw_again(folder)
    out.say(folder.path("report.html"))


@app.command()
def stages() -> None:
    """List the installed stages: name, what they read and produce, what they need."""
    from pipelines.tables import print_table, stages_table

    print_table(out, stages_table())


def _warn(untaught: Sequence[str]) -> None:
    """Name the tasks that a dataset does not teach."""
    for task in untaught:
        line = f"{task}: no examples in this dataset, it is not trained"
        err.say(line, label="warning", style="yellow")


def _given(**changes: str | float | list[str] | None) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in changes.items() if value is not None}


def main() -> None:
    """Run the command line and exit with its code."""
    from pipelines.stopping import stoppable

    with _outside_of_current_folder(), stoppable() as stop:
        code = _run(stop)
        if stop.is_asked or code == INTERRUPTED:
            stop.end()
    sys.exit(code)


def _run(stop: Stop) -> int:
    """Run a command and return its exit code. What is raised after a signal is of no interest:
    libraries whose imports or callbacks it interrupts make errors of their own of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show a letter ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if stop.is_asked:
            return INTERRUPTED
        if isinstance(error, FlorilegiumError):
            err.error(str(error))
            return _exit_code(error)
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    """Tell what was typed wrong, which file failed, or else where: a fault of ours or a library."""
    from engine.storage import CURES, storage_error

    if isinstance(error, _TYPED_WRONG):
        _show_usage(error)
        return 2
    if isinstance(error, OSError) and error.errno in CURES:
        # Of a file that no dataset has, such as a plan or an export.
        err.error(str(storage_error("use", str(error.filename or "a file"), error)))
    else:
        err.say(redacted("".join(format_exception(error)).rstrip()))
    return 1


@contextmanager
def _outside_of_current_folder() -> Iterator[None]:
    """Keep Python from searching the folder one stands in for modules, here and in each process
    that is started from here: `python -m` and `-c` would, and so do those of `multiprocessing`.

    It stays where this program lies in it, or PYTHONPATH names it.
    """
    here, ours = os.getcwd(), str(Path(__file__).parents[1])
    chosen = map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if here not in (ours, *chosen) and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.environ.pop(_SAFE_PATH)
        if before is not None:
            os.environ[_SAFE_PATH] = before


def _show_usage(error: Any) -> None:
    """Tell what was typed wrong; a name of a file may be in it."""
    if error.ctx is not None and error.ctx.command_path:
        err.say(error.ctx.get_usage())
    if message := error.format_message():
        err.error(message)


def _exit_code(error: FlorilegiumError) -> int:
    if isinstance(error, UsageError):
        return 2
    return 3 if isinstance(error, OutputInUse) else 1
