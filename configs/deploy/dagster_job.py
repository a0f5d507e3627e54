"""A build every night, as an asset of Dagster on a Ray cluster that is there all the time.

Needs `florilegium[cluster]` where runs execute; models and keys are on the Ray cluster. A run that
is started again joins the job that goes on: the same submission is one job.
"""

import subprocess

import dagster

CONFIG = "/opt/florilegium/config.yaml"
ADDRESS = "http://HEAD:8265"
WRONG_USAGE = 2
"""Exit code of a config that is wrong: it stays wrong, however often it is tried."""


@dagster.asset(retry_policy=dagster.RetryPolicy(max_retries=3, delay=600))
def photographs() -> None:
    """The dataset, up to date."""
    command = ["florilegium", "submit", CONFIG, "--address", ADDRESS, "--wait"]
    code = subprocess.run(command).returncode
    if code:
        raise dagster.Failure(
            f"the build ended with {code}: see the log", allow_retries=code != WRONG_USAGE
        )


nightly = dagster.ScheduleDefinition(
    job=dagster.define_asset_job("florilegium_nightly", [photographs]), cron_schedule="30 2 * * *"
)
definitions = dagster.Definitions(assets=[photographs], schedules=[nightly])
