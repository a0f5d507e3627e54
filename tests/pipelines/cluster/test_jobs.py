"""Ids of jobs, and how a job's end becomes an exit code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.cluster.jobs import Job, find, latest, name_of, ours


def details(name: str, status: str = "SUCCEEDED", **fields: Any) -> Any:
    """A job as Ray's client has it."""
    missing = {"message": None, "driver_exit_code": None, "metadata": None, "end_time": None}
    where = {"submission_id": name, "status": SimpleNamespace(value=status), "start_time": 0}
    return SimpleNamespace(**missing | where | fields)


def test_an_output_has_one_name_and_another_output_another() -> None:
    name = name_of("s3://bucket/datasets/My Photographs")
    assert name == "florilegium-my-photographs-3843ceb6d5"
    assert name_of("s3://bucket/datasets/My Photographs/") == name
    assert name_of("s3://other/datasets/My Photographs") != name
    assert name_of("/") == "florilegium-e3b0c44298"
    assert len(name_of("s3://bucket/" + "x" * 500)) == len("florilegium--") + 40 + 10


@pytest.mark.parametrize(
    ("status", "exit_code", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", 3, 3),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_a_job_ends_with_the_exit_code_of_its_command(
    status: str, exit_code: int | None, code: int
) -> None:
    job = Job.of(details("florilegium-a-1", status, driver_exit_code=exit_code))
    assert job.is_over
    assert job.code == code
    assert job.has_started == (exit_code is not None)
    assert job.to_json()["exit_code"] == code


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_job_that_goes_on_has_no_exit_code(status: str) -> None:
    job = Job.of(details("florilegium-a-1", status))
    assert not job.is_over
    assert job.to_json()["exit_code"] is None


def test_jobs_of_others_are_left_out_and_ours_come_oldest_first() -> None:
    found = ours(
        [
            details("raysubmit_x"),
            details("florilegium-b-0123456789-1", start_time=7),
            details(None),  # type: ignore[arg-type]
            details("florilegium-a-0123456789-2", start_time=3),
        ]
    )
    names = [job.name for job in found]
    assert names == ["florilegium-a-0123456789-2", "florilegium-b-0123456789-1"]


def test_the_latest_attempt_is_that_of_the_highest_number() -> None:
    name = name_of("/data/out")
    jobs = [Job.of(details(f"{name}-{number}")) for number in (2, 10, 9)]
    jobs.append(Job.of(details(f"{name_of('/data/out2')}-11")))
    found = latest(jobs, name)
    assert found is not None
    assert found.name == f"{name}-10"
    assert latest(jobs, name_of("/data/none")) is None


def test_a_job_is_found_by_id_or_by_output() -> None:
    name = name_of("s3://bucket/out")
    jobs = [Job.of(details(f"{name}-{number}")) for number in (1, 2)]
    assert find(jobs, f"{name}-1").name == f"{name}-1"
    assert find(jobs, name).name == f"{name}-2"
    assert find(jobs, "s3://bucket/out/").name == f"{name}-2"
    with pytest.raises(UsageError, match=r"no job 's3://bucket/other': give the id that `submit`"):
        find(jobs, "s3://bucket/other")
