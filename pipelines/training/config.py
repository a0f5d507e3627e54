"""The options of a training.

The defaults are for fine-tuning the released weights: a learning rate of 1e-6, which the published
advice gives as the safe start. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from florilegium.engine.core.errors import nearest
from florilegium.engine.untrusted.names import check_name
from florilegium.specialists.florence2.format import DEFAULT_TASKS, FLORENCE2_TASKS

SPEED_OPTIONS = {
    *("num_gpus", "threads", "checkpoint_every", "log_every", "keep_checkpoints"),
    "kinds_and_parts",
}
"""Options that do not change the weights; of `kinds_and_parts` the content counts, not the path.
"""


class LoraConfig(BaseModel):
    """Low-rank adapters in place of all weights; merged into the weights when they are saved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=8, ge=1)
    """Rank."""
    alpha: int = Field(default=16, ge=1)
    """Scale: adapters are multiplied by `alpha / r`."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of an adapter's input that is dropped in training."""
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    """Names of the linear layers that get an adapter."""


class CustomTask(BaseModel):
    """A custom task: templates of a prompt and a target, filled from annotations or metadata.

    `{metadata.a.b}` is a value in the sample's metadata (a number is an index in a list).
    `{text}`, `{label}`, `{box}` and `{quad}` are those of an annotation, the last two as location
    tokens; with `each: metadata.PATH`, `{name}` is a value in an entry of that list. A sample
    that lacks a value of the prompt or the target gives no example.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1)
    """Template of the prompt."""
    target: str = Field(min_length=1)
    """Template of the expected answer."""
    each: str = ""
    """What one example is made from: a task, for one example per annotation; `metadata.PATH` of a
    list, for one per entry; or nothing, for one per sample."""


class TrainConfig(BaseModel):
    """How Florence-2 is trained on a finished dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A folder, `package://NAME/FOLDER` or a hub id, in safetensors, already on this machine."""
    revision: str = ""
    """Commit or branch of a model on the hub; leave it out for a folder."""

    tasks: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(DEFAULT_TASKS, 1.0))
    """Weights of the tasks; each time a sample is read, one of the tasks that its labels can feed
    is drawn by weight. Names from `custom` may be added, and `question_answer`, which the released
    weights do not know: it is trained only where it is named."""
    custom: dict[str, CustomTask] = Field(default_factory=dict)
    """Custom tasks by name; weight 1 unless `tasks` has another."""
    absent_share: float = Field(default=0.1, ge=0, le=1)
    """Share of grounding and open-vocabulary prompts that ask for an absent object."""
    kinds_and_parts: str = "package://florilegium/configs/kinds_and_parts.txt"
    """Path of a list of synonyms, kinds and parts: negative prompts do not ask for these of a
    labelled object."""
    mirrored_share: float = Field(default=0.0, ge=0, le=1)
    """Share of detection examples whose image and boxes are mirrored horizontally."""
    ambiguous: tuple[float, float] | None = None
    """A band of calibrated confidences, lowest and highest: a task skips a sample that has an
    annotation of the task in this band, kept or dropped, which may be right or wrong."""
    allow_one_class: bool = False
    """Train detection even if all boxes have the same label."""
    polygon_iou: float = Field(default=0.97, ge=0, le=1)
    """Overlap with its mask, 0..1, down to which a polygon is simplified. At 0.97 the outlines of
    objects in photographs have 23 corners on average, and none is below 0.95 in location tokens."""
    polygon_corners: int = Field(default=200, ge=4)
    """Maximum corners of all polygons in a target, at least four each; a corner is two tokens.
    Fewer if `max_target_tokens` or the positions of the model ask for it. Published answers have
    32 to 257."""
    max_target_tokens: int = Field(default=1024, ge=2)
    """Examples with longer targets are left out."""
    sample_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the samples that are trained on: those about which a specialist with the same
    `sample_share` is asked."""
    validation_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the samples, chosen by hash, that are not trained on: only their loss is
    measured."""
    shuffle_buffer: int = Field(default=1000, ge=1)
    """Samples in the shuffle buffer; the order of shards is shuffled, too."""
    length_pool: int = Field(default=4, ge=1)
    """Batches that are sorted by length together, for less padding; 1 does not sort."""

    steps: int = Field(default=1000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=8, ge=1)
    """Examples in a batch of one worker."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches per step."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak learning rate of all weights except the vision tower's."""
    tower_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the vision tower; by default `learning_rate`."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW; for matrices only."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises from 0."""
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls afterwards."""
    max_gradient: float = Field(default=1.0, ge=0)
    """Norm to which gradients are clipped; 0 does not clip."""
    freeze_vision: bool = False
    """Do not train the vision tower; saves memory, costs quality in detection."""
    lora: LoraConfig | None = None
    """Train low-rank adapters only."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bfloat16 if the GPU supports it, else float32."""
    seed: int = 0
    """Seed of order, task choice and dropout."""

    workers: int = Field(default=1, ge=0)
    """Training processes, started by Ray; 0 trains in this process."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs per worker."""
    threads: int = Field(default=1, ge=1)
    """CPU threads per worker."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes per worker that load batches ahead; 0 loads them in the worker itself."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; a killed training repeats at most this many."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept while training."""
    log_every: int = Field(default=10, ge=1)
    """Steps between entries in the log."""

    @model_validator(mode="before")
    @classmethod
    def _weigh_custom_tasks(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("custom"), Mapping):
            weights = values.get("tasks", dict.fromkeys(DEFAULT_TASKS, 1.0))
            return {**values, "tasks": {**dict.fromkeys(values["custom"], 1.0), **weights}}
        return values

    @field_validator("ambiguous")
    @classmethod
    def _is_band(cls, band: tuple[float, float] | None) -> tuple[float, float] | None:
        if band and not 0 <= band[0] <= band[1] <= 1:
            raise ValueError("give two confidences in 0..1, the lower one first")
        return band

    @model_validator(mode="after")
    def _check_tasks(self) -> TrainConfig:
        for name, weight in self.tasks.items():
            if name not in FLORENCE2_TASKS and name not in self.custom:
                hint = nearest(name, (*FLORENCE2_TASKS, *self.custom))
                raise ValueError(f"unknown task {name!r}, {hint}")
            if weight < 0:
                raise ValueError(f"the weight of task {name!r} is {weight}: take 0 or more")
        if not any(self.tasks.values()):
            raise ValueError("no task has a weight above 0: give at least one in `tasks`")
        for name in self.custom:
            check_name(name)
        if taken := self.custom.keys() & FLORENCE2_TASKS.keys():
            raise ValueError(f"custom task {min(taken)!r} has the name of a Florence-2 task")
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks with a weight above 0."""
        return tuple(name for name, weight in self.tasks.items() if weight > 0)

    def identity(self) -> dict[str, Any]:
        """Return all options that determine the weights, as JSON values."""
        return self.model_dump(mode="json", exclude=SPEED_OPTIONS)
