"""What workers wait for on a cluster that others use, too, and who those are.

Ray tells how much is free, and which programs are connected; not which of them holds what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.counted import counted

PATIENCE_S = 10.0
"""Seconds after which a worker that is not there yet waits for a place, not for its imports."""
_MOST_NAMED = 3
_DASHBOARD = "/ray/dashboard/"  # Ray's own program


def waiting_for(*, cpus: float, gpus: float) -> str:
    """Tell what of so many CPUs and GPUs is not free, and who may hold it; "" when all is free."""
    import ray

    return told({"CPU": cpus, "GPU": gpus}, ray.available_resources(), _others())


def told(wanted: Mapping[str, float], free: Mapping[str, float], others: Sequence[str]) -> str:
    """Put in words what of the wanted resources is not free; "" when all is."""
    lacking = {kind: round(count - free.get(kind, 0.0), 2) for kind, count in wanted.items()}
    what = " and ".join(
        counted(int(count) if count == int(count) else count, kind)
        for kind, count in lacking.items()
        if count > 0
    )
    if not what:
        return ""
    who = ", ".join(others[:_MOST_NAMED]) or "others"
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return f"waiting for {what}: held by {who}{more}"


def _others() -> list[str]:
    """Return the other programs that use the cluster, and actors that outlive theirs."""
    import ray

    own = ray.get_runtime_context().get_job_id()
    programs = [
        f"{job['Entrypoint']} (process {job['DriverPid']} on {job['DriverIPAddress']})"
        for job in _jobs()
        if not job["IsDead"] and job["JobID"] != own and _DASHBOARD not in job["Entrypoint"]
    ]
    actors = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]
    return programs or [f"the actor {name!r}" for name in actors if not name.startswith("_ray")]


def _jobs() -> Sequence[Mapping[str, Any]]:
    """Return the jobs that Ray knows.

    The public list of them is served by the dashboard, which a plain installation has not.
    """
    try:
        from ray._private.state import jobs

        return jobs()
    except Exception:  # what cannot be found out does not end a run
        return ()
