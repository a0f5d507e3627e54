"""The page about configs: every key of a run, its refinement and refreshes, and of a training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import BaseModel

from florilegium.engine.planning.config import RunConfig
from florilegium.pipelines.reference.markdown import heading, option_list
from florilegium.pipelines.reference.options import Option, options_of
from florilegium.pipelines.refine.config import RefineOptions
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.training.config import TrainConfig

_SECTIONS: tuple[tuple[str, str, str, type[BaseModel]], ...] = (
    (
        "run",
        "A run",
        "What `build`, `plan`, `refresh`, `refine` and `submit` read. A key in a dotted name is "
        "within another; `--set limits.max_pixels=50000000` sets one on the command line.",
        RunConfig,
    ),
    ("refine", "`refine`", "The section of a run that is refined.", RefineOptions),
    (
        "refresh",
        "`refresh`",
        "The section of a run that is refreshed on a schedule; `build` leaves it alone.",
        RefreshOptions,
    ),
    (
        "train",
        "A training",
        "What `florilegium train` reads, and `refine.train` holds.",
        TrainConfig,
    ),
)


def config_page() -> str:
    """Return the page of all keys."""
    text = heading(1, "Configs")
    text += (
        "A config is a YAML file. An unknown key is an error. [Stages](stages.md) and "
        "[sources](sources.md) have options of their own.\n\n"
        "Editors complete and check a config by its JSON schema, which has the options of all that "
        "is installed here. Write it beside the config, and name it in the config's first line, as "
        "those that are shipped do:\n\n"
        "```text\n"
        "florilegium schema > schema.json\n"
        "# yaml-language-server: $schema=schema.json\n"
        "```\n\n"
    )
    for name, title, intro, model in _SECTIONS:
        text += heading(2, title, "config", name)
        text += f"{intro}\n\n{option_list(_without_nested_trainings(options_of(model)))}"
    return text


def _without_nested_trainings(options: tuple[Option, ...]) -> Iterator[Option]:
    """Yield the options, but not those of the training within a refinement a second time."""
    for option in options:
        if option.name == "train":
            doc = f"{option.doc} Its keys are those of a training, below."
            yield replace(option, nested=(), doc=doc)
        else:
            yield option
