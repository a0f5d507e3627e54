"""A build every night, as a DAG of Airflow 3 on a Ray cluster that is there all the time.

Needs `florilegium[cluster]` where tasks run; models and keys are on the Ray cluster. A task that is
started again joins the job that goes on: the same submission is one job.
"""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

CONFIG = "/opt/florilegium/config.yaml"
ADDRESS = "http://HEAD:8265"
WRONG_USAGE = 2
"""Exit code of a config that is wrong: it stays wrong, however often it is tried."""


@dag(
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
)
def florilegium_nightly() -> None:
    """Bring the dataset up to date."""

    @task
    def build() -> None:
        command = ["florilegium", "submit", CONFIG, "--address", ADDRESS, "--wait"]
        code = subprocess.run(command).returncode
        if code == WRONG_USAGE:
            raise AirflowFailException("the config is wrong: see the log; no retry helps")
        if code:
            raise RuntimeError(f"the build ended with {code}")

    build()


florilegium_nightly()
