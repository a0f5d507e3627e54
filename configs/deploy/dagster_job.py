"""A refresh every night, as an asset of Dagster on a Ray cluster that is there all the time.

Needs `florilegium[cluster]` where runs execute; models and keys are on the Ray cluster. A run that
is started again joins the job that goes on: the same submission is one job.
"""

import subprocess

import dagster

CONFIG = "/opt/florilegium/config.yaml"
ADDRESS = "http://HEAD:8265"
NO_RETRY = (2, 4)
"""Exit codes that stay as they are, however often it is tried: the config is wrong; the new version
is held back, and waits for a person."""


@dagster.asset(retry_policy=dagster.RetryPolicy(max_retries=3, delay=600))
def photographs() -> None:
    """The dataset, up to date."""
    command = ["florilegium", "submit", CONFIG, "--address", ADDRESS, "--refresh", "--wait"]
    code = subprocess.run(command).returncode
    if code:
        raise dagster.Failure(
            f"the refresh ended with {code}: see the log", allow_retries=code not in NO_RETRY
        )


nightly = dagster.ScheduleDefinition(
    job=dagster.define_asset_job("florilegium_nightly", [photographs]), cron_schedule="30 2 * * *"
)
definitions = dagster.Definitions(assets=[photographs], schedules=[nightly])
