"""Resources of Kubernetes: every field is one of KubeRay's CRDs, every command one of ours.

`kuberay_1_7_0.json` is what the CRDs of KubeRay 1.7.0 say about the levels that we use: the names
of all fields, their types, and which are required.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.commands import parse

DEPLOY = ROOT / "configs" / "deploy"
SCHEMAS = json.loads(Path(__file__).with_name("kuberay_1_7_0.json").read_text("utf-8"))
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "int-or-string": (int, str),
}
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
CRON = re.compile(r"\d+ \d+ \* \* \*")
CRON_JOB_FIELDS = {
    *("schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds", "jobTemplate"),
    *("successfulJobsHistoryLimit", "failedJobsHistoryLimit", "suspend"),
}
"""The fields of `CronJobSpec` of batch/v1."""


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def mistakes(value: Any, schema: Any, where: str) -> list[str]:
    """Return what a value has that its schema does not know, or lacks."""
    if "ref" in schema:
        schema = SCHEMAS[schema["ref"]]
    wanted = TYPES.get(schema.get("type", ""), object)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{where}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    found: list[str] = []
    if isinstance(value, dict):
        found += [f"{where}: lacks {one}" for one in schema.get("required", ()) if one not in value]
        known, more = schema.get("properties"), schema.get("additionalProperties")
        for key, inner in value.items():
            if known and key in known:
                found += mistakes(inner, known[key], f"{where}.{key}")
            elif isinstance(more, dict):
                found += mistakes(inner, more, f"{where}.{key}")
            elif known:
                found.append(f"{where}: does not know {key}")
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            found += mistakes(inner, schema["items"], f"{where}[{number}]")
    return found


@pytest.mark.parametrize(("name", "kind"), [("rayjob", "RayJob"), ("raycronjob", "RayCronJob")])
def test_a_resource_of_kuberay_has_only_fields_of_its_crd(name: str, kind: str) -> None:
    resource = load(f"{name}.yaml")
    assert (resource["apiVersion"], resource["kind"]) == ("ray.io/v1", kind)
    assert NAME.fullmatch(resource["metadata"]["name"])
    assert mistakes(resource["spec"], SCHEMAS[kind], kind) == []


@pytest.mark.parametrize(
    ("path", "value", "mistake"),
    [
        (("backoffLimits",), 3, "RayJob: does not know backoffLimits"),
        (("backoffLimit",), "3", "RayJob.backoffLimit: '3' is no integer"),
        (("backoffLimit",), True, "RayJob.backoffLimit: True is no integer"),
        (
            ("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"),
            0,
            "RayJob.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus: 0 is no string",
        ),
        (
            ("rayClusterSpec", "headGroupSpec", "template", "spec", "volume"),
            [],
            "RayJob.rayClusterSpec.headGroupSpec.template.spec: does not know volume",
        ),
    ],
)
def test_a_mistake_in_a_resource_is_found(path: tuple[str, ...], value: Any, mistake: str) -> None:
    spec = load("rayjob.yaml")["spec"]
    place = spec
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert mistakes(spec, SCHEMAS["RayJob"], "RayJob") == [mistake]


@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_the_autoscaler_of_the_comment_has_fields_and_a_command_that_exist(name: str) -> None:
    text = (DEPLOY / f"{name}.yaml").read_text("utf-8")
    (field,) = re.findall(r"`(\w+: true)` beside `rayVersion`", text)
    spec = load("rayjob.yaml")["spec"]
    spec["rayClusterSpec"] |= yaml.safe_load(field)
    assert mistakes(spec, SCHEMAS["RayJob"], "RayJob") == []
    (command,) = re.findall(r"# +(florilegium (?:build|refresh) .*)", text)
    assert parse(command)["overrides"] == ["runner.wait_for_nodes_s=600"]


def test_the_scheduled_job_is_the_job_and_is_tried_once_a_night() -> None:
    nightly, once = load("raycronjob.yaml")["spec"]["jobTemplate"], load("rayjob.yaml")["spec"]
    command = once["entrypoint"].replace(" build ", " refresh ")
    assert nightly == {**once, "entrypoint": command, "backoffLimit": 0}
    assert parse(nightly["entrypoint"])["config"] == parse(once["entrypoint"])["config"]
    assert CRON.fullmatch(load("raycronjob.yaml")["spec"]["schedule"])


def test_the_job_builds_the_config_that_is_mounted_and_is_tried_again() -> None:
    spec = load("rayjob.yaml")["spec"]
    options = parse(spec["entrypoint"])
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (mount,) = head["containers"][0]["volumeMounts"]
    assert str(options["config"]).startswith(mount["mountPath"])
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True


def test_ray_is_the_version_that_is_tested() -> None:
    tested = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert tested
    assert load("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == tested[1]


def test_the_cron_job_refreshes_and_does_not_repeat_what_stays_as_it_is() -> None:
    resource = load("cronjob.yaml")
    assert (resource["apiVersion"], resource["kind"]) == ("batch/v1", "CronJob")
    spec = resource["spec"]
    assert spec.keys() <= CRON_JOB_FIELDS
    assert CRON.fullmatch(spec["schedule"])
    assert spec["concurrencyPolicy"] in ("Allow", "Forbid", "Replace")
    job = spec["jobTemplate"]["spec"]
    assert job.keys() == {"backoffLimit", "podFailurePolicy", "template"}
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 4]}}
    assert mistakes(job["template"], SCHEMAS["Pod"], "Pod") == []
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # as a failure policy demands
    options = parse(pod["containers"][0]["command"])
    assert (options["refresh"], options["wait"]) == (True, True)
    assert str(options["config"]).startswith(pod["containers"][0]["volumeMounts"][0]["mountPath"])


def test_volumes_that_are_mounted_exist() -> None:
    cluster = load("rayjob.yaml")["spec"]["rayClusterSpec"]
    templates = [
        one["template"] for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]
    templates.append(load("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"])
    for template in templates:
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounted = {
            mount["name"]
            for container in template["spec"]["containers"]
            for mount in container["volumeMounts"]
        }
        assert mounted == volumes
