"""The training steps: a subclass of Hugging Face's `Trainer` for Florence-2.

Imports torch and transformers; only a process that trains imports this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from florilegium.engine.core.errors import RunError
from florilegium.pipelines.training.checkpoints import (
    CHECKPOINTS,
    complete,
    last_checkpoint,
    state_of,
    step_of,
)
from florilegium.pipelines.training.collate import IGNORED, Collator, Encoded
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.files import PROGRESS, write_doing, write_json
from florilegium.pipelines.training.reader import Reader, WorkerRank
from florilegium.pipelines.training.student import parameter_groups
from florilegium.pipelines.training.tally import LossTally

LOGS = "logs"
_SHARE_BEFORE_REPORT = 0.75
"""Reported losses are means over the steps after this share of all steps."""
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class Batches(IterableDataset):  # type: ignore[type-arg]
    """The endless batches of one worker, starting at batch `first`."""

    def __init__(self, reader: Reader, worker_rank: WorkerRank, *, first: int) -> None:
        self._reader, self._worker_rank, self._first = reader, worker_rank, first

    def __iter__(self) -> Iterator[list[Encoded]]:
        """Yield batches; each of n loader processes yields every n-th."""
        info = get_worker_info()
        loaders, number = (info.num_workers, info.id) if info else (1, 0)
        # The loader takes batches from its processes in turn, starting with process 0, which must
        # therefore yield batch `first`.
        turn = (number + self._first) % loaders
        return self._reader.batches(
            consumer=self._worker_rank.rank * loaders + turn,
            consumers=self._worker_rank.workers * loaders,
            skip=max(0, -(-(self._first - turn) // loaders)),
        )


class _LastStepLogged(TrainerCallback):
    """Logs the last step even if it is no multiple of `log_every`, for the progress display."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True


class _FirstStepShown(TrainerCallback):
    """Writes what the training does until losses are logged."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._is_first = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        write_doing(self._output, "reading the first examples")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._is_first:
            write_doing(self._output, "computing the first step")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._is_first:
            write_doing(self._output, f"step {state.global_step} of {state.max_steps}")
        self._is_first = False


class Florence2Trainer(Trainer):
    """Trains with two learning rates, records losses by task, and writes complete checkpoints."""

    def __init__(
        self,
        model: Any,
        config: TrainConfig,
        output: Path,
        *,
        reader: Reader,
        collator: Collator,
        worker_rank: WorkerRank,
    ) -> None:
        super().__init__(model=model, args=_arguments(config, output), data_collator=collator)
        self.remove_callback(PrinterCallback)
        self.add_callback(_LastStepLogged())
        if worker_rank.rank == 0:
            self.add_callback(_FirstStepShown(output))
        # The loss below is normalised over all tokens of a step, however it is split into batches.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = True
        self._config, self._output, self._worker_rank = config, output, worker_rank
        self._reader, self._collator = reader, collator
        self._writer: SummaryWriter | None = None
        self._recent = LossTally()
        self._head = model.get_output_embeddings()
        self.tally = LossTally()

    def run(self) -> None:
        """Train; resume from the last checkpoint if there is one.

        Raises:
            RunError: the loss is not finite.
        """
        checkpoint = last_checkpoint(self._output)
        first = step_of(checkpoint) if checkpoint else 0
        if checkpoint and self._worker_rank.rank == 0:
            self.tally = LossTally(**state_of(checkpoint))
        if self._worker_rank.rank == 0:
            self._writer = SummaryWriter(str(self._output / LOGS), purge_step=first)
        self._loader = DataLoader(
            Batches(
                self._reader, self._worker_rank, first=first * self._config.gradient_accumulation
            ),
            batch_size=None,
            collate_fn=self._collator,
            num_workers=self._config.loader_workers,
            generator=torch.Generator(),  # else it would use the generator of dropout
        )
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if self._writer:
            self._writer.close()

    def get_train_dataloader(self) -> Any:
        """Return our loader: every worker reads its own shards."""
        return self._loader

    def create_optimizer(self, model: Any = None) -> Any:
        """Create AdamW with the parameter groups of the config."""
        if self.optimizer is None:
            groups = parameter_groups(self.model, self._config)
            self.optimizer = torch.optim.AdamW(groups, lr=self._config.learning_rate, fused=True)
        return self.optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the cross entropy of a batch over the tokens of the whole step."""
        tasks, labels = inputs.pop("tasks"), inputs.pop("labels")
        by_example = example_losses(model, inputs, labels, head=self._head)
        self._count(tasks, by_example, (labels != IGNORED).sum(dim=1))
        # Workers' gradients are averaged, and the tokens are those of all workers.
        return by_example.sum() * self._worker_rank.workers / num_items_in_batch

    def _count(self, tasks: list[str], losses: torch.Tensor, tokens: torch.Tensor) -> None:
        numbers = losses.detach().tolist()
        for task, loss in zip(tasks, numbers, strict=True):
            if not math.isfinite(loss):
                raise RunError(
                    f"the loss of a {task} example is {loss} at step {self.state.global_step}: "
                    f"lower learning_rate (it is {self._config.learning_rate:g}), or set "
                    f"precision: fp32, and run it again"
                )
        for tally in (self.tally, self._recent):
            tally.add(tasks, numbers, tokens.tolist())

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        tokens = torch.stack([(batch["labels"] != IGNORED).sum() for batch in batch_samples]).sum()
        if self._worker_rank.workers > 1:
            tokens = tokens.to(device)
            dist.all_reduce(tokens)
        return tokens.to(device)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: counting them at every step is not worth its time."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the losses, also by task, to TensorBoard and to the progress file."""
        total, self._recent = LossTally.of_all_workers(self._recent), LossTally()
        step = self.state.global_step
        if step <= _SHARE_BEFORE_REPORT * self._config.steps:
            self.tally.restart()
        if self._writer and "loss" in logs:
            by_task = {f"loss/{task}": loss for task, loss in total.means().items()}
            for name, value in {**logs, **by_task}.items():
                self._writer.add_scalar(name, value, step)
            progress = {"step": step, "steps": self._config.steps, "loss": logs["loss"]}
            write_json(self._output, PROGRESS, progress, durable=False)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            return  # the finished weights are saved instead
        super()._save_checkpoint(model, trial)
        total = LossTally.of_all_workers(self.tally)
        if self._worker_rank.workers > 1:
            dist.barrier()
        if self._worker_rank.rank == 0:
            complete(
                self._output,
                self.state.global_step,
                total.state(),
                keep=self._config.keep_checkpoints,
            )


def example_losses(
    model: Any, inputs: dict[str, Any], labels: torch.Tensor, *, head: Any
) -> torch.Tensor:
    """Return the cross entropy of each example, summed over its tokens, (n,).

    The model's head, the largest layer, is applied to target tokens only, not to padding.
    """
    is_token = labels != IGNORED
    with _only(head, is_token):
        logits = model(**inputs, use_cache=False).logits
    losses = labels.new_zeros(labels.shape, dtype=torch.float32)
    losses[is_token] = cross_entropy(logits.float(), labels[is_token], reduction="none")
    return losses.sum(dim=1)


@contextmanager
def _only(head: Any, rows: torch.Tensor) -> Iterator[None]:
    """Apply a layer only to the rows (n, length) of its input (n, length, width)."""
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][rows],))
    try:
        yield
    finally:
        handle.remove()


def validation_losses(model: Any, reader: Reader, collator: Collator) -> dict[str, float]:
    """Return the mean loss per token by task on samples that were not trained on."""
    tally, device = LossTally(), next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        encoded = list(reader.for_validation(at_most=_MAX_VALIDATION))
        size = reader.config.batch_size
        for start in range(0, len(encoded), size):
            batch = collator(encoded[start : start + size])
            tasks = batch.pop("tasks")
            inputs = {name: tensor.to(device) for name, tensor in batch.items()}
            labels = inputs.pop("labels")
            losses = example_losses(model, inputs, labels, head=model.get_output_embeddings())
            tally.add(tasks, losses.tolist(), (labels != IGNORED).sum(dim=1).tolist())
    return tally.means()


_MAX_VALIDATION = 1024


def _arguments(config: TrainConfig, output: Path) -> TrainingArguments:
    has_gpu = config.num_gpus > 0
    can_bf16 = has_gpu and torch.cuda.is_bf16_supported()
    arguments = TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_SCHEDULES[config.scheduler],
        warmup_steps=round(config.warmup * config.steps),
        max_grad_norm=config.max_gradient,
        bf16=config.precision == "bf16" or (config.precision == "auto" and can_bf16),
        use_cpu=not has_gpu,
        seed=config.seed,
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        ignore_data_skip=True,  # our stream itself starts where the checkpoint ended
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
    )
    # A process trains on one GPU, however many it sees: else the model is copied to all of them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
