"""All checks in one go, as findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from florilegium.engine.core.errors import MissingPackage
from florilegium.engine.core.redaction import redacted
from florilegium.engine.planning.config import RunConfig
from florilegium.pipelines.doctor.cluster import ray_findings
from florilegium.pipelines.doctor.environment import environment_findings
from florilegium.pipelines.doctor.finding import ABSENT, OK, WARNING, Finding, pip_line
from florilegium.pipelines.doctor.machine import machine_findings
from florilegium.pipelines.doctor.models import model_findings
from florilegium.pipelines.doctor.packages import EXTRAS, package_findings
from florilegium.pipelines.doctor.plugins import plugin_findings
from florilegium.pipelines.doctor.readiness import readiness
from florilegium.pipelines.doctor.storage import folder_findings


def diagnose(
    name: str,
    config: RunConfig,
    documents: Mapping[str, Mapping[str, Any]],
    *,
    is_wanted: bool,
    is_online: bool = False,
    is_ray_started: bool = False,
) -> Iterator[Finding]:
    """Yield what is found on this machine, topic after topic.

    The config with this name has to be ready to be built. Models are those of `documents`, configs
    by name; where these are `wanted`, a missing one is a problem. Secrets are masked.
    """
    findings = _findings(
        name,
        config,
        documents,
        is_wanted=is_wanted,
        is_online=is_online,
        is_ray_started=is_ray_started,
    )
    for one in findings:  # texts have errors of plugins and services in them
        yield replace(
            one, name=redacted(one.name), text=redacted(one.text), cure=redacted(one.cure)
        )


def _findings(
    name: str,
    config: RunConfig,
    documents: Mapping[str, Mapping[str, Any]],
    *,
    is_wanted: bool,
    is_online: bool,
    is_ray_started: bool,
) -> Iterator[Finding]:
    yield from readiness(name, config, is_online=is_online)
    yield from package_findings()
    yield from _language_and_fonts()
    yield from plugin_findings()
    yield from machine_findings(config.runner.object_store_mb)
    yield from ray_findings(config.runner, is_online=is_online, is_started=is_ray_started)
    yield from model_findings(documents, is_wanted=is_wanted, is_online=is_online)
    yield from folder_findings(config.output if is_wanted else None)
    yield from environment_findings()


def _language_and_fonts() -> Iterator[Finding]:
    """Yield the English pipeline of spaCy, and whether pictures can have letters."""
    from PIL import features

    from florilegium.specialists.words.english import english_revision

    name = "English of spaCy"
    try:
        yield Finding(topic=EXTRAS, name=name, level=OK, text=english_revision())
    except MissingPackage as error:
        cure = pip_line(error)
        yield Finding(topic=EXTRAS, name=name, level=ABSENT, text="not installed", cure=cure)
    if not features.check("freetype2"):
        yield Finding(
            topic=EXTRAS,
            name="fonts",
            level=WARNING,
            text="Pillow was built without FreeType: `florilegium try` cannot write in pictures",
            cure="pip install --force-reinstall --only-binary=:all: pillow",
        )
