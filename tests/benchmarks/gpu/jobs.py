"""What is measured: stages, their options on a GPU and on a CPU, and their loops by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.benchmarks.gpu import vocabularies
from tests.benchmarks.gpu.architectures import REAL
from tests.benchmarks.gpu.by_hand import Loop
from tests.benchmarks.gpu.looking import (
    DetectorLoop,
    GroundingLoop,
    ImageTagsLoop,
    OpenVocabularyLoop,
    SegmentAnythingLoop,
)
from tests.benchmarks.gpu.speaking import ChatCaptionLoop, Florence2Loop, RegionTextLoop, TrOcrLoop
from tests.benchmarks.gpu.stages import TEXT_LINES
from tests.checkpoints.chat_caption import WRITERS as CHAT_WRITERS
from tests.checkpoints.grounding import write_grounding_dino

Options = Mapping[str, Any]
_HERE = "tests.benchmarks.gpu.stages"
_BOXES = {"boxes": {"use": f"{_HERE}:Grid"}}
_LINES = {"lines": {"use": f"{_HERE}:Grid", "task": "ocr", "grid": [1, TEXT_LINES]}}
_SAYING = {"saying": {"use": f"{_HERE}:Saying"}}
_NO_CHANCES = "the stage also computes the probability of each token, the loops do not"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A stage that is measured."""

    loop: type[Loop[Any]]
    options: Options = field(default_factory=dict)
    real: Options = field(default_factory=dict)
    """Further options on a GPU."""
    tiny: Options = field(default_factory=dict)
    """Further options on a CPU."""
    inputs: Mapping[str, Options] = field(default_factory=dict)
    """Stages that say what this one reads."""
    write_tiny: Callable[[Path], Options] | None = None
    """What writes the tiny checkpoint, if not the module of the stage in `tests.checkpoints`."""
    wanted: int = 0
    """Annotations of an image; on a GPU, `least_score` is set so that there are about as many."""
    note: str = ""
    """What should be known about the comparison."""


def _tiny_blip(folder: Path) -> Options:
    return {"model": str(CHAT_WRITERS["blip"](folder))}


def _tiny_grounding_dino(folder: Path) -> Options:
    """Write one that reads whole words, for letters of a caption were more tokens than it hears."""
    write_grounding_dino(folder)
    vocabularies.bert(1100).save_pretrained(folder)
    return {"model": str(folder)}


JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "florence2": Job(
            loop=Florence2Loop,
            options={"tasks": ["detailed_caption"], "max_new_tokens": 32},
            real={"batch_size": 32},
            note=_NO_CHANCES,
        ),
        "detector": Job(loop=DetectorLoop, options={"batch_size": 8}, wanted=30),
        "open_vocabulary": Job(
            loop=OpenVocabularyLoop,
            options={"classes": ["man", "woman", "dog", "cat", "cup", "car", "tree", "street"]},
            wanted=20,
            note="the loops read the names again with each batch, as the documentation has it",
        ),
        "grounding": Job(
            loop=GroundingLoop,
            inputs=_SAYING,
            write_tiny=_tiny_grounding_dino,
            wanted=10,
            note="batches by hand are padded to their largest image, those of the stage are not",
        ),
        "segment_anything": Job(
            loop=SegmentAnythingLoop,
            options={"tasks": ["object_detection"], "batch_size": 8},
            inputs=_BOXES,
            note="the stage also measures how stable each mask is, the loops do not",
        ),
        "image_tags": Job(
            loop=ImageTagsLoop, options={"least_score": 0}, note="names are read once"
        ),
        "region_text": Job(
            loop=RegionTextLoop,
            options={"prompt": vocabularies.PROMPT, "max_new_tokens": 10},
            inputs=_BOXES,
            write_tiny=_tiny_blip,
            note=_NO_CHANCES,
        ),
        "chat_caption": Job(
            loop=ChatCaptionLoop,
            options={
                "prompts": {"caption": "Describe this image."},
                "max_new_tokens": {"caption": 32},
            },
            note=_NO_CHANCES,
        ),
        "trocr": Job(
            loop=TrOcrLoop,
            options={"max_new_tokens": 12, "least_score": 0},
            inputs=_LINES,
            note=_NO_CHANCES,
        ),
    }
)
"""By the name of the stage."""


def options_of(name: str, folder: Path, *, is_real: bool) -> dict[str, Any]:
    """Write the checkpoint of a stage and return the options of the stage."""
    job = JOBS[name]
    folder.mkdir(parents=True)
    if is_real:
        return {**REAL[name](folder), **job.options, **job.real, "num_gpus": 1}
    write = job.write_tiny or import_module(f"tests.checkpoints.{name}").options
    return {**write(folder), **job.options, **job.tiny, "device": "cpu"}
