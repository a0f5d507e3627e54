"""Options of all stages with a `transformers` model: which weights, and how they are run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.core.stage import RUNTIME, StageConfig

RANDOM_WEIGHTS = "random weights"


class LoadingConfig(StageConfig):
    """How weights are loaded and run."""

    revision: Annotated[str, RUNTIME] = ""
    """Branch, tag or commit of a model of the hub; by default the main branch in the cache."""
    weights: Literal["trained", "random"] = "trained"
    """`random` builds the architecture of the config, untrained, to measure time and memory; a
    build refuses it unless told otherwise."""
    image_size: int | None = Field(default=None, ge=16)
    """Pixels of the side of the image that the model sees, the shorter one where the aspect is
    kept; families that count pixels (Qwen-VL) see as many as a square has. By default the
    checkpoint's."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; `auto` is bfloat16 on a GPU and float32 elsewhere, and
    layers of both count as the same: name a type where they must not mix."""
    device: Annotated[str, RUNTIME] = "auto"
    """Torch device; `auto` is the GPU if the worker has one."""
    attention: Annotated[Literal["auto", "eager", "sdpa", "flash_attention_2"], RUNTIME] = "auto"
    """Implementation of attention; `auto` is what `transformers` prefers."""
    compile: Annotated[bool, RUNTIME] = False
    """Whether `torch.compile` is used: minutes at the start, faster afterwards."""
    threads: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], RUNTIME] = "auto"
    """Threads of a worker that decode and prepare images, and of torch on a CPU; `auto` is 8
    beside a GPU and 1 on a CPU."""
    max_batch_pixels: Annotated[int, RUNTIME, Field(ge=1)] = 32 * 1024 * 1024
    """Pixels of one batch, as the model sees them, at most: large images share smaller batches."""

    @property
    def caveat(self) -> str:
        """Why the annotations of the model are worth nothing; empty for a trained one."""
        return RANDOM_WEIGHTS if self.weights == "random" else ""

    def named(self, model: str) -> str:
        """Return a model's name, with the caveat if there is one."""
        return f"{model} ({self.caveat})" if self.caveat else model


class PretrainedConfig(LoadingConfig):
    """Which weights, and how they are run. A subclass gives `model` a default."""

    model: Annotated[str, RUNTIME]
    """A folder, `package://NAME/FOLDER` or a hub id. Where the weights lie costs nothing, other
    weights do."""
