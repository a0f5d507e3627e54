"""How a run knows its corrections: those in the folder of its output are applied by themselves."""

from __future__ import annotations

from typing import TypeVar

from florilegium.engine.core.errors import FlorilegiumError
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.store import CORRECTIONS, has_corrections

HUMAN, HUMAN_FIRST = "human", "human_first"
"""The stages that apply corrections, under their names in a config."""
ConfigT = TypeVar("ConfigT", bound=RunConfig)


def with_corrections(config: ConfigT) -> ConfigT:
    """Return a run with the stages that apply the corrections in its output; as it is where there
    are none, or where the config has such a stage already: `human: {}` applies none.

    Outputs that cannot be reached have none here: the run reports them.
    """
    stages = {**config.specialists, **config.filters}
    uses = {name: (options or {}).get("use", name) for name, options in stages.items()}
    if any(use in (HUMAN, HUMAN_FIRST) for use in uses.values()):  # a wrong `use` is a list, too
        return config
    try:
        if not has_corrections(Folder(config.output)):
            return config
    except FlorilegiumError:
        return config
    where = {"corrections": f"{config.output.rstrip('/')}/{CORRECTIONS}"}
    return config.model_copy(
        update={
            "specialists": {**config.specialists, HUMAN: where},
            "filters": {HUMAN_FIRST: where, **config.filters},
        }
    )
