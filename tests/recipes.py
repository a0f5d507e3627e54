"""Recipes of configs/ with tiny checkpoints in the place of the models that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.config import RunConfig, load_document, validated

CONFIGS = Path(__file__).parents[1] / "configs"


def tiny_recipe(
    name: str, folder: Path, *, overrides: Sequence[str] = (), **changes: Any
) -> RunConfig:
    """Return a recipe whose models are tiny and whose services are on loopback."""
    document = load_document(CONFIGS / f"{name}.yaml", changes=changes, overrides=overrides)
    for section in ("specialists", "filters"):
        for stage, options in document[section].items():
            document[section][stage] = _tiny(stage, options or {}, folder)
    return validated(RunConfig, document, where=name)


def _tiny(stage: str, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    use = options.get("use", stage)
    if find_spec(f"tests.checkpoints.{use}") is None:
        return dict(options)
    (folder / stage).mkdir(parents=True)
    tiny = import_module(f"tests.checkpoints.{use}").options(folder / stage)
    return {**tiny, **options, **{key: tiny[key] for key in tiny if key in _REPLACED}}


_REPLACED = ("model", "recogniser", "url", "least_score", "max_new_tokens", "examples")
"""Options that name a model or a service, or go with a tiny one."""
