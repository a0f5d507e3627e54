"""Options of all stages with a `transformers` model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from florilegium.engine.core.stage import CONTENT, RUNTIME, StageConfig

RANDOM_WEIGHTS = "random weights"


class LoadingConfig(StageConfig):
    """Options of loading and inference."""

    revision: Annotated[str, CONTENT] = ""
    """Branch, tag or commit of a model on the hub; by default the main branch in the cache."""
    weights: Literal["trained", "random"] = "trained"
    """`random` builds the architecture of the config, untrained, to measure time and memory; a
    build refuses it unless `allow_random_weights` is set."""
    image_size: int | None = Field(default=None, ge=16)
    """Side in pixels of the model's input image, the shorter one if the aspect ratio is kept; for
    families with a number of pixels (Qwen-VL) the square of it. By default the checkpoint's."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; `auto` is bfloat16 on a GPU and float32 elsewhere. Layers of
    both are interchangeable: set a type if they must not mix."""
    device: Annotated[str, RUNTIME] = "auto"
    """Torch device; `auto` is the GPU, if the worker has one."""
    attention: Annotated[Literal["auto", "eager", "sdpa", "flash_attention_2"], RUNTIME] = "auto"
    """Implementation of attention; `auto` is what `transformers` prefers."""
    compile: Annotated[bool, RUNTIME] = False
    """Use `torch.compile`: minutes at the start, faster afterwards."""
    threads: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], RUNTIME] = "auto"
    """Threads of a worker for decoding and preprocessing without `feeders`, and of torch on a CPU;
    `auto` is 8 with a GPU and 1 on a CPU."""
    feeders: Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], RUNTIME] = "auto"
    """Processes of a worker that decode and preprocess images, instead of its threads; `auto` is 0
    on a CPU, and the worker's share of the CPUs with a GPU, 1 to 8."""
    max_batch_pixels: Annotated[int, RUNTIME, Field(ge=1)] = 32 * 1024 * 1024
    """Maximum input pixels of one batch: large images get smaller batches."""

    @property
    def caveat(self) -> str:
        """Why the annotations must not be used for training; empty for trained weights."""
        return RANDOM_WEIGHTS if self.weights == "random" else ""

    def named(self, model: str) -> str:
        """Return a model's name, with the caveat if any."""
        return f"{model} ({self.caveat})" if self.caveat else model


class PretrainedConfig(LoadingConfig):
    """Options of weights and inference. A subclass gives `model` a default."""

    model: Annotated[str, CONTENT]
    """A folder, `package://NAME/FOLDER` or a hub id. The digest of the weights counts, not their
    path."""
