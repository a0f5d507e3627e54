"""Reading configs in tests, as commands read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from florilegium.engine.planning.config import RunConfig, load_document, validated

RunConfigT = TypeVar("RunConfigT", bound=RunConfig)


def load_config(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    model: type[RunConfigT] = RunConfig,  # type: ignore[assignment]
) -> RunConfigT:
    """Read a YAML config, apply top-level `changes`, then dotted overrides."""
    document = load_document(path, overrides=overrides, changes=changes)
    return validated(model, document, where=str(path))
