"""A refresh every night, as a DAG of Airflow 3 on a Ray cluster that is there all the time.

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
NO_RETRY = {
    2: "the config is wrong: see the log",
    4: "the new version is held back: look at held_back.html beside it, then accept it or mend it",
}
"""Exit codes that stay as they are, however often it is tried."""


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
    def refresh() -> None:
        command = ["florilegium", "submit", CONFIG, "--address", ADDRESS, "--refresh", "--wait"]
        code = subprocess.run(command).returncode
        if code in NO_RETRY:
            raise AirflowFailException(NO_RETRY[code])
        if code:
            raise RuntimeError(f"the refresh ended with {code}")

    refresh()


florilegium_nightly()
