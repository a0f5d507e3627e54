"""Commands around jobs on a running Ray cluster: submit, and `job status | logs | cancel`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.commands.options import (
    Check,
    ConfigFile,
    MaxDeadLetterShare,
    NoPlugins,
    OutputOption,
    Overrides,
    PlanFile,
    PluginPath,
    Replace,
    RetryDeadLetters,
    SourceOption,
    Verbose,
    err,
    out,
)

if TYPE_CHECKING:
    from florilegium.engine.planning.config import RunConfig
    from florilegium.pipelines.cluster.client import Cluster
    from florilegium.pipelines.cluster.jobs import Job
    from florilegium.pipelines.cluster.package import Package
    from florilegium.pipelines.cluster.submission import Command, Environment

_LACKING = re.compile(r"No module named|pip install")
"""What a job prints that lacks a package."""
_ABSENT = {
    "build": ("--accept",),
    "refine": ("--accept", "--retry-dead-letters", "--replace", "--check"),
    "refresh": (),
}
"""Switches of `submit` that a command does not have."""
Address = Annotated[
    str,
    typer.Option(
        "--address", envvar="RAY_API_SERVER_ADDRESS", help="The job server: http://HEAD:8265."
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Print what the job prints; end as it ends, with its code.")
]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="The id that `submit` printed, or the output.")
]


def submit(
    config: ConfigFile,
    address: Address,
    wait: Wait = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Run `refresh` there, not `build`.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="With --refresh: publish what was held back.")
    ] = False,
    source: SourceOption = None,
    output: OutputOption = None,
    overrides: Overrides = None,
    plan_file: PlanFile = None,
    max_dead_letter_share: MaxDeadLetterShare = None,
    retry_dead_letters: RetryDeadLetters = False,
    replace: Replace = False,
    check: Check = False,
    no_plugins: NoPlugins = False,
    plugin_path: PluginPath = None,
    verbose: Verbose = False,
    pip: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Install a package for this job, on every node."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="Set a variable for this job; NAME alone has the value it has here. The cluster "
            "keeps it in clear.",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Run the job in this container image (podman on the nodes).")
    ] = None,
) -> None:
    """Build, refresh or refine on a running Ray cluster; the same submission twice is one job."""
    from florilegium.pipelines.cluster.client import Cluster
    from florilegium.pipelines.cluster.package import pack
    from florilegium.pipelines.cluster.submission import Environment, submission_of
    from florilegium.pipelines.cluster.submission import submit as submit_to
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.refresh.options import refuse_commands

    loaded = load(
        config,
        overrides=overrides,
        plan_file=plan_file,
        no_plugins=no_plugins,
        source=source,
        output=output,
        max_dead_letter_share=max_dead_letter_share,
        plugin_path=plugin_path,
    )
    command = _command_of(loaded.config, config, refresh=refresh)
    switches = {"--accept": accept, "--retry-dead-letters": retry_dead_letters}
    switches |= {"--replace": replace, "--check": check}
    flags = _flags_of(command, switches | {"--no-plugins": no_plugins, "--verbose": verbose})
    if no_plugins:
        refuse_commands(loaded.refresh)
    environment = Environment.of(env or [])
    cluster = Cluster(address, secrets=environment.secrets)
    with TemporaryDirectory(prefix="florilegium-") as folder:
        package = pack(loaded.document, loaded.config, Path(folder))
        submission = submission_of(
            package,
            loaded.config.output,
            flags=flags,
            environment=environment,
            command=command,
            pip=pip or (),
            image=image,
        )
        name, is_new = submit_to(cluster, submission)
    _print_sent(package, environment, name, is_new=is_new)
    out.say(f"dataset  {redacted(loaded.config.output)}")
    if wait:
        _follow(cluster, name)
    out.say(f"follow   florilegium job logs {name} --address {cluster.address} --wait")


def _command_of(config: RunConfig, path: Path, *, refresh: bool) -> Command:
    """Return the command that a job runs: `refine` where the config describes a refinement.

    Raises:
        UsageError: it cannot be refreshed, or its output is no folder that all nodes mount.
    """
    from florilegium.pipelines.refine.config import RefineConfig

    if not isinstance(config, RefineConfig):
        return "refresh" if refresh else "build"
    if refresh:
        raise UsageError(
            f"{path} describes a refinement, which takes in what is new itself: leave --refresh out"
        )
    config.refuse_remote_output()
    return "refine"


def _flags_of(command: Command, switches: Mapping[str, bool]) -> list[str]:
    """Return the switches that are on.

    Raises:
        UsageError: the command does not have one of them.
    """
    flags = [switch for switch, is_on in switches.items() if is_on]
    for flag in flags:
        if flag in _ABSENT[command]:
            raise UsageError(f"the job runs `florilegium {command}`, which has no {flag}")
    return flags


def _print_sent(package: Package, environment: Environment, name: str, *, is_new: bool) -> None:
    """Print what went to the cluster, and the job that it became."""
    if is_new:
        for part in package.parts:
            out.say(f"sent     {part}")
    if environment.variables:
        out.say(f"env      {', '.join(environment.variables)}")
    out.say(f"job      {name}{'' if is_new else ', which runs already'}")


jobs = typer.Typer(no_args_is_help=True, help="Look at jobs that `submit` sent; cancel one.")


@jobs.command()
def status(
    address: Address,
    job: Annotated[
        str | None, typer.Argument(metavar="JOB", help="Its id or its output; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what became of a job, or of all."""
    from florilegium.pipelines.cluster.client import Cluster
    from florilegium.pipelines.commands.tables import jobs_table, print_table

    cluster = Cluster(address)
    found = [cluster.find(job)] if job else cluster.jobs()
    if as_json:
        out.say(json_text(found[0].to_json() if job else [one.to_json() for one in found]))
        return
    print_table(out, jobs_table(found))
    if job and (reason := _reason(found[0])):
        err.error(reason)


@jobs.command()
def logs(job: JobName, address: Address, wait: Wait = False) -> None:
    """Print what a job has printed."""
    from florilegium.pipelines.cluster.client import Cluster

    cluster = Cluster(address)
    name = cluster.find(job).name
    if wait:
        _follow(cluster, name)
    out.say(cluster.logs(name).removesuffix("\n"))


@jobs.command()
def cancel(job: JobName, address: Address) -> None:
    """Stop a job and wait for its end; finished work stays, and another `submit` resumes."""
    from florilegium.pipelines.cluster.client import Cluster

    cluster = Cluster(address)
    found = cluster.find(job)
    if found.is_over:
        out.say(f"{found.name} had ended before: {found.status}")
        return
    out.say(f"{found.name} {cluster.cancel(found.name).status}")


def _follow(cluster: Cluster, name: str) -> None:
    """Print what a job prints, and exit with its code."""
    lacking: list[str] = []

    def say(line: str) -> None:
        out.say(line)
        lacking.extend(_LACKING.findall(line))

    try:
        job = cluster.follow(name, say)
    except KeyboardInterrupt:
        err.say(f"the job goes on: florilegium job cancel {name} --address {cluster.address}")
        raise
    if reason := _reason(job):
        err.error(reason)
    if job.code and lacking:
        err.say("a package is missing there: `submit --pip PACKAGE` installs it for this job")
    out.say(f"{job.name} {job.status}, exit code {job.code}")
    raise typer.Exit(job.code)


def _reason(job: Job) -> str:
    """Return why the command of a job did not start, or "" where it did."""
    return "" if job.has_started or not job.message else redacted(job.message.strip())
