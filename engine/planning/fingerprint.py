"""The identity of a stage and of all stages together: digests of what decides their answers.

An option marked `RUNTIME` is not part of it, nor one marked `CONTENT`, whose content the stage's
revision names, nor one marked `ADDED` at its default; one marked `THRESHOLD` is part of the recipe
only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from florilegium.engine.core.sample import digest_of
from florilegium.engine.core.stage import (
    CONTENT,
    RUNTIME,
    THRESHOLD,
    SampleFilter,
    Specialist,
    Stage,
    StageConfig,
)

FORMAT_VERSION = 4
"""Raise it when the engine writes the same annotations differently."""

SAMPLE_SHARE = "sample_share"
"""The option of a specialist by which it is asked about a share of the samples only."""


def fingerprint_of(configuration: Mapping[str, Any], read: Sequence[str]) -> str:
    """Return the fingerprint of a stage from its configuration, as a manifest has it, and the
    fingerprints of the stages that it reads."""
    options = {
        name: value
        for name, value in configuration["config"].items()
        if name not in configuration["thresholds"]
    }
    texts = [str(configuration[name]) for name in ("name", "use", "version", "model", "revision")]
    each = [json.dumps({"each": configuration["each"]})] if "each" in configuration else []
    return digest_of([*texts, json.dumps(options, sort_keys=True), *each, *read])[:16]


def recipe_of(images: str, stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the recipe of stages by fingerprint, with their configurations, in their order."""
    configurations = [json.dumps(one, sort_keys=True) for one in stages.values()]
    return digest_of([str(FORMAT_VERSION), images, *stages, *configurations])


def configuration_of(
    name: str,
    use: str,
    stage: Stage[Any],
    revision: str,
    upstream: Sequence[str],
    *,
    sample_share: float = 1.0,
) -> dict[str, Any]:
    """Return all that the fingerprint of a stage stands for, and its thresholds, as JSON values.

    A `sample_share` below 1 is one of its options.
    """
    share = {} if sample_share == 1 else {SAMPLE_SHARE: sample_share}
    is_divided = isinstance(stage, Specialist) and stage.each
    return {
        "name": name,
        "use": use,
        "version": stage.version,
        "model": stage.model,
        "revision": revision,
        "reads": list(upstream),
        "config": {**stage.config.stored(stage.config.marked((RUNTIME, CONTENT))), **share},
        "thresholds": sorted(stage.config.marked((THRESHOLD,))),
        **({"each": list(stage.each)} if is_divided else {}),
        **({"compares": True} if isinstance(stage, SampleFilter) and stage.compares else {}),
    }


def thresholds_of(config: StageConfig) -> dict[str, Any]:
    """Return the thresholds of a stage, as JSON values."""
    return config.model_dump(mode="json", include=config.marked((THRESHOLD,)))


def unnamed_content(stage: Stage[Any], revision: str) -> list[str]:
    """Return the options that name content which nothing in the fingerprint names: with another
    content the stage would not be asked again."""
    if revision or stage.model:
        return []
    config = stage.config
    return sorted(name for name in config.marked((CONTENT,)) if getattr(config, name))
