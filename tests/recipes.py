"""Recipes of configs/ with tiny checkpoints in the place of the models that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.pipelines.refine.config import RefineConfig

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


def tiny_refinement(name: str, folder: Path, *, share: float, **changes: Any) -> RefineConfig:
    """Return a recipe with its refinement: one round of one student, which is trained for a moment.

    `share` is that of the images whose long captions others write, and the writer learns from.
    """
    document = load_document(CONFIGS / f"{name}.yaml", changes=changes, overrides=PERMISSIVE)
    seen = [options for options in document["specialists"].values() if "sample_share" in options]
    assert len(seen) == 3
    for options in (*seen, *document["refine"]["fine_tune"].values()):
        options["sample_share"] = share
    run = {key: value for key, value in document.items() if key != "refine"}
    for section in ("specialists", "filters"):
        for stage, options in run[section].items():
            run[section][stage] = _tiny(stage, options or {}, folder)
    options = document["refine"] | {"rounds": 1, "folds": 1}
    for student in options["students"].values():
        student |= {"max_new_tokens": 32, "dtype": "float32"}
    options["train"] |= _A_MOMENT | {"model": "package://florilegium/specialists/tiny_florence2"}
    options["fine_tune"]["writer"] |= {"steps": 1}
    return validated(RefineConfig, {**run, "refine": options}, where=name)


_A_MOMENT = {
    "steps": 1, "batch_size": 2, "gradient_accumulation": 1, "workers": 0, "num_gpus": 0,
    "absent_share": 0,
}  # fmt: skip


def _tiny(stage: str, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    use = options.get("use", stage)
    if find_spec(f"tests.checkpoints.{use}") is None:
        return dict(options)
    (folder / stage).mkdir(parents=True)
    tiny = import_module(f"tests.checkpoints.{use}").options(folder / stage)
    return {**options, **{key: tiny[key] for key in tiny if key in _REPLACED}}


_REPLACED = ("model", "recogniser", "url", "least_score", "max_new_tokens", "examples")
"""Options that name a model or a service, or go with a tiny one."""

_CAPTIONS = ("caption", "detailed_caption", "more_detailed_caption")
_ANY_TEXT = {
    "min_words": 0, "max_words": None, "max_characters": None, "max_repeats": None,
    "min_english": None, "min_english_brief": None, "max_objects": None,
    "min_object_complexity": None, "min_action_complexity": None,
}  # fmt: skip
_ANY_REGION = {"min_score": 0, "min_area": 0, "max_aspect": None, "min_support": 0}
_REGIONS = ("object_detection", "region_proposal", "region_category", "region_description",
            "phrase_grounding", "referring_segmentation")  # fmt: skip
PERMISSIVE = (
    "specialists.region_text.least_side=1",
    "specialists.region_label.least_side=1",
    "specialists.region_text.max_boxes=3",
    "filters.image_text.least_side=1",
    *(f"filters.image_text.least_similarity.{task}=0" for task in (*_CAPTIONS, *_REGIONS[3:5])),
    *(f"filters.text_filter.tasks.{task}={json.dumps(_ANY_TEXT)}" for task in _CAPTIONS),
    *(f"filters.region_score.tasks.{task}={json.dumps(_ANY_REGION)}" for task in _REGIONS),
    "filters.region_score.specialists={}",
)
"""Overrides by which filters keep what untrained models say: their boxes are slivers."""


def annotation_types(output: Path) -> dict[str, int]:
    """Return how many annotations a dataset has of each type of FLD-5B."""
    table = json.loads((output / "statistics.json").read_text())["table_2"]
    return {f"{one['kind']}, {one['text']}": one["annotations"] for one in table}
