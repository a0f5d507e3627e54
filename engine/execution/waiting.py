"""What workers wait for on a shared cluster, and which other programs use it.

Ray reports free resources and connected programs, but not which program holds which resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from florilegium.engine.core.counted import counted

PATIENCE_S = 10.0
"""Seconds after which a worker that has not started is waiting for resources, not for imports."""
_MAX_NAMED = 3
_RAYS_OWN = ("/ray/dashboard/", "ray::")
"""Ray's own programs: parts of their command lines, or of the titles that they give themselves."""


def waiting_for(*, cpus: float, gpus: float) -> str:
    """Return which of these CPUs and GPUs are not free and who may hold them; "" when all are."""
    import ray

    return waiting_line({"CPU": cpus, "GPU": gpus}, ray.available_resources(), _others())


def waiting_line(
    wanted: Mapping[str, float], free: Mapping[str, float], others: Sequence[str]
) -> str:
    """Return the line for resources that are not free; "" when all are."""
    lacking = {kind: round(count - free.get(kind, 0.0), 2) for kind, count in wanted.items()}
    what = " and ".join(
        counted(int(count) if count == int(count) else count, kind)
        for kind, count in lacking.items()
        if count > 0
    )
    if not what:
        return ""
    who = ", ".join(others[:_MAX_NAMED]) or "others"
    more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
    return f"waiting for {what}: held by {who}{more}"


def _others() -> list[str]:
    """Return the other programs that use the cluster, and actors that outlive theirs."""
    import ray

    programs = programs_of(_jobs(), own=ray.get_runtime_context().get_job_id())
    actors = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]
    return programs or [f"the actor {name!r}" for name in actors if not name.startswith("_ray")]


def programs_of(jobs: Sequence[Mapping[str, Any]], *, own: str) -> list[str]:
    """Return the programs that are connected, but this one (the job `own`) and Ray's own."""
    return [
        f"{job['Entrypoint']} (process {job['DriverPid']} on {job['DriverIPAddress']})"
        for job in jobs
        if not job["IsDead"]
        and job["JobID"] != own
        and not any(part in job["Entrypoint"] for part in _RAYS_OWN)
    ]


def _jobs() -> Sequence[Mapping[str, Any]]:
    """Return the jobs that Ray knows.

    The public list of them is served by the dashboard, which a plain installation has not.
    """
    try:
        from ray._private.state import jobs

        return jobs()
    except Exception:  # for display only: no reason to end a run
        return ()
