"""Batched inference with a loaded model on its device.

Preprocessing runs in feeders or threads; the device computes one batch at a time, while other calls
decode, preprocess, and turn outputs into answers. Only inputs of the same shape share a batch of
`run`: nothing is padded, and the output for an image does not depend on others. Batches are halved
if memory is insufficient.

A GPU is used by one thread at a time, and only to queue work. Whatever waits for it (`.item()`,
`.cpu()`, `nonzero`, an index by a mask) would leave it idle until the next work arrives, so
`forward` does none of this: outputs of a batch are copied to the host together, and awaited once,
when the next batch may be queued already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.specialists.pretrained.batches import cut, of_one_shape, stacked
from florilegium.specialists.pretrained.by_table import Table, by_table

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from florilegium.specialists.pretrained.checkpoint import Checkpoint
    from florilegium.specialists.pretrained.config import LoadingConfig

T = TypeVar("T")
PreparedT = TypeVar("PreparedT")
AnswerT = TypeVar("AnswerT")
Load = Callable[..., tuple[Any, Any]]
Forward = Callable[[dict[str, "Tensor"], list[int]], Any]
"""From a batch on the device, and the indices of its inputs, to a tensor, or tuples and lists of
tensors, on the device."""
Finish = Callable[[Any, Sequence[int]], Iterable[AnswerT]]
"""From the same tensors on the host, and the indices, to one answer each."""

CALLS_AT_ONCE = 3
"""Calls that a worker with networks takes at once: the batch of one is computed, another one is
ready, and a third is prepared. With two, feeders wait while both batches are ready."""
OUT_OF_MEMORY = "out_of_memory"
TOO_THIN = "too_thin"
NOT_A_NUMBER = "not_a_number"


class Network:
    """Weights, processor and device of one checkpoint.

    `load` is called with the checkpoint, dtype, device and attention implementation; by default
    `load_pretrained`. A network `beside` another one of the same stage shares its feeders.

    Raises:
        ConfigError: the checkpoint, the device or the image size cannot be used.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: LoadingConfig,
        *,
        load: Load | None = None,
        beside: Network | None = None,
    ) -> None:
        import torch

        from florilegium.specialists.pretrained.feeders import Feeders, feeders_of
        from florilegium.specialists.pretrained.loading import load_pretrained

        self.checkpoint = checkpoint
        self.device = torch.device(device_of(config.device))
        threads = threads_of(config.threads, self.device.type)
        if self.device.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        feeders = feeders_of(config.feeders, self.device.type, config.num_gpus)
        self._feeders: Feeders | None = Feeders(feeders) if feeders and not beside else None
        if beside:
            self._feeders = beside._feeders
        dtype = dtype_of(config.dtype, self.device.type)
        self.dtype = getattr(torch, dtype)
        self.model, self.processor = (load or load_pretrained)(
            checkpoint, dtype=dtype, device=str(self.device), attention=config.attention
        )
        if config.image_size is not None:
            _set_image_size(checkpoint, self.processor, config.image_size)
        if config.compile:
            self.model.compile()
        self._batch_size = self._max_batch_size = config.batch_size
        self._max_pixels = config.max_batch_pixels
        self._table: Table | None = None
        self._device_lock = threading.Lock()
        self._counting = threading.Lock()
        self.prepared_s = 0.0
        """CPU-seconds of `prepare` so far, in all threads or feeders."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prepare")

    @cached_property
    def image_processor(self) -> Any:
        """The image processor of the checkpoint; where rescaling and normalising can be done by a
        table, `run` does both, and this one gives `pixel_values` as uint8."""
        usual = getattr(self.processor, "image_processor", self.processor)
        found, self._table = by_table(usual, self.dtype)
        return found

    def prepare(self, items: Sequence[T], one: Callable[[T], PreparedT]) -> list[PreparedT]:
        """Decode and preprocess: call `one` on each item, in feeders or threads; results are in
        order. Items, function and results are pickled for a feeder; equal functions are sent once.
        """
        if self._feeders:
            found, cpu_s = self._feeders.prepare(items, one)
        else:
            timed = self.in_threads(items, partial(_timed, one))
            found, cpu_s = [result for result, _ in timed], sum(own_s for _, own_s in timed)
        with self._counting:
            self.prepared_s += cpu_s
        return found

    def in_threads(self, items: Sequence[T], one: Callable[[T], PreparedT]) -> list[PreparedT]:
        """Call `one` on each item in threads of this process; results are in order."""
        return list(self._threads.map(one, items))

    def ask(
        self,
        items: Sequence[T],
        one: Callable[[T], Mapping[str, Tensor]],
        forward: Forward,
        finish: Finish[AnswerT] | None = None,
        *,
        batches: int = 4,
    ) -> list[AnswerT]:
        """Preprocess and `run` items, a number of batches at a time, to limit memory.

        An image may have hundreds of lines or crops, each as large as an image when preprocessed.
        """
        answers: list[AnswerT] = []
        for numbers in cut(range(len(items)), batches * self._max_batch_size):
            inputs = self.prepare([items[number] for number in numbers], one)
            answers += self.run(inputs, forward, finish)
        return answers

    def run(
        self,
        inputs: Sequence[Mapping[str, Tensor]],
        forward: Forward,
        finish: Finish[AnswerT] | None = None,
    ) -> list[AnswerT]:
        """Return the answer for each input, in order.

        An input is a mapping of tensors without a batch dimension, as from `unbatched`. `forward`
        gets a stacked batch on the device, floats in the model's dtype, also images that
        `image_processor` left as uint8; it is called by one thread at a time. `finish` gets its
        outputs on the host; other threads may use the device meanwhile. Both are called in
        inference mode. Without `finish`, the answers are the rows of the output, and stay on the
        device.
        """
        found: dict[int, AnswerT] = {}
        size, max_pixels = self._batch_size, self._max_pixels
        for batch in of_one_shape(inputs, size=size, max_pixels=max_pixels):
            found.update(zip(batch, self._run_batch(batch, inputs, forward, finish), strict=True))
        return [found[number] for number in range(len(inputs))]

    def _run_batch(
        self,
        batch: Sequence[int],
        inputs: Sequence[Mapping[str, Tensor]],
        forward: Forward,
        finish: Finish[AnswerT] | None,
    ) -> list[AnswerT]:
        """Return the answer for each input of a batch, given by its indices."""
        # Before the device is locked: the host stacks while the device computes another batch.
        whole = stacked(
            [inputs[number] for number in batch],
            self.dtype,
            table=self._table,
            is_pinned=self.device.type == "cuda",
        )

        def compute(rows: Sequence[int]) -> Any:
            part = slice(rows[0], rows[-1] + 1)  # `attempt` passes consecutive rows
            on_device = {name: self.to_device(tensor[part]) for name, tensor in whole.items()}
            return forward(on_device, list(batch[part]))

        answers = partial(_finished, finish, batch) if finish else None
        return self.attempt(range(len(batch)), compute, answers)

    def attempt(
        self,
        numbers: Sequence[int],
        compute: Callable[[Sequence[int]], Any],
        finish: Finish[AnswerT] | None = None,
    ) -> list[AnswerT]:
        """Call `compute` on the device for numbers in order, a batch at a time, then `finish`.

        A batch that needs too much memory halves the batch size, also of later calls.

        Raises:
            SampleError: `out_of_memory`: a single input is too large.
            ValueError: there are more or fewer answers than numbers.
        """
        import torch

        answers: list[AnswerT] = []
        while len(answers) < len(numbers):
            part = numbers[len(answers) : len(answers) + self._batch_size]
            outputs = self._within_memory(part, compute, stays=finish is None)
            if outputs is None:
                self._batch_size = min(self._batch_size, len(part) // 2)
            elif finish is None:
                answers += _one_for_each(part, outputs.tensors)
            else:
                outputs.wait()
                with torch.inference_mode():
                    answers += _one_for_each(part, finish(outputs.tensors, part))
        return answers

    def _within_memory(
        self, numbers: Sequence[int], compute: Callable[[Sequence[int]], Any], *, stays: bool
    ) -> _Outputs | None:
        """Make one call on the device, and copy its outputs to the host unless they stay; `None` if
        memory is insufficient."""
        import torch

        try:
            with self._device_lock, torch.inference_mode():
                tensors = compute(numbers)
                return _Outputs(list(tensors)) if stays else self._leaving(tensors)
        except torch.OutOfMemoryError as error:
            if len(numbers) == 1:
                raise SampleError(
                    OUT_OF_MEMORY, f"one image needs more memory than {self.device} has: {error}"
                ) from error
        # Outside of the handler: the error references the tensors of the call.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _leaving(self, tensors: Any) -> _Outputs:
        """Start to copy tensors to the host."""
        import torch

        if self.device.type != "cuda":
            return _Outputs(_on_host(tensors))
        on_host = _on_host(tensors, non_blocking=True)
        # A thread that waits for it takes no core.
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(self.device))
        return _Outputs(on_host, copied.synchronize)

    def _pinned(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def to_device(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host on the device, in its own dtype, without waiting for it."""
        return self._pinned(tensor).to(self.device, non_blocking=True)


@dataclass(frozen=True)
class _Outputs:
    """Outputs of a batch; those that leave the device are complete after `wait`."""

    tensors: Any
    wait: Callable[[], None] = lambda: None


def _finished(
    finish: Finish[AnswerT], batch: Sequence[int], outputs: Any, rows: Sequence[int]
) -> Iterable[AnswerT]:
    """Return the answers about some rows of a batch, given by the indices of its inputs."""
    return finish(outputs, [batch[row] for row in rows])


def _one_for_each(numbers: Sequence[int], answers: Iterable[AnswerT]) -> list[AnswerT]:
    """Return answers as a list; with one too few, later numbers would get those of others."""
    return [answer for _, answer in zip(numbers, answers, strict=True)]


def _on_host(tensors: Any, *, non_blocking: bool = False) -> Any:
    """Return a tensor, or tuples and lists of tensors, on the host."""
    if isinstance(tensors, tuple | list):
        return type(tensors)(_on_host(one, non_blocking=non_blocking) for one in tensors)
    return tensors.to("cpu", non_blocking=non_blocking)


def _timed(one: Callable[[T], PreparedT], item: T) -> tuple[PreparedT, float]:
    before_s = time.thread_time()
    return one(item), time.thread_time() - before_s


def unbatched(features: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a processor's output for one image or text, without the batch dimension."""
    return {name: tensor[0] for name, tensor in features.items()}


def preprocess(image_processor: Any, pixels: np.ndarray) -> dict[str, Tensor]:
    """Return an image processor's output for RGB pixels, uint8, (height, width, 3).

    Raises:
        SampleError: `too_thin`: a side would shrink to 0.
    """
    from PIL import Image

    # A PIL image and no array: in an array with a side of three, the channel axis is ambiguous.
    image = Image.fromarray(pixels)
    try:
        return unbatched(image_processor(images=image, return_tensors="pt"))
    except ValueError as error:
        raise SampleError(
            TOO_THIN,
            f"{image.width}x{image.height} pixels cannot be resized for this model: {error}",
        ) from error


def to_float32(output: Tensor) -> Tensor:
    """Return an output of a model in float32; on a GPU, this waits for it.

    Raises:
        SampleError: `not_a_number`, as comparisons with NaN would silently drop results.
    """
    if output.isnan().any():
        raise SampleError(
            NOT_A_NUMBER, f"the model computed NaN in {output.dtype}; use a wider `dtype`"
        )
    return output.float()


def to_numpy(output: Tensor) -> np.ndarray:
    """Return an output of a model as a float32 array on the host, checked as in `to_float32`."""
    values: np.ndarray = to_float32(output).cpu().numpy()
    return values


def device_of(device: str) -> str:
    """Return a torch device; `auto` is the GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}: {error}; use `auto`, `cuda` or `cpu`") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r}: torch finds no GPU here; use `auto` or `cpu`")
    return device


def threads_of(threads: int | str, device_type: str) -> int:
    """Return the number of preprocessing threads; a GPU needs several."""
    return (1 if device_type == "cpu" else 8) if isinstance(threads, str) else threads


def dtype_of(dtype: str, device_type: str) -> str:
    """Return the name of a torch dtype; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return "bfloat16" if device_type == "cuda" else "float32"
    return dtype


def _set_image_size(checkpoint: Checkpoint, processor: Any, side: int) -> None:
    """Set the image size of a processor, in the format of its own size."""
    image_processor = getattr(processor, "image_processor", processor)
    size = dict(image_processor.size or {})
    if hasattr(image_processor, "merge_size"):  # Qwen-VL and similar have a number of pixels
        image_processor.size = {"shortest_edge": side**2, "longest_edge": side**2}
    elif "height" in size:
        image_processor.size = {"height": side, "width": side}
    elif "shortest_edge" in size:
        longest = size.get("longest_edge")
        factor = side / size["shortest_edge"]
        image_processor.size = {"shortest_edge": side} | (
            {"longest_edge": round(longest * factor)} if longest else {}
        )
    elif "longest_edge" in size:
        image_processor.size = {"longest_edge": side}
    else:
        raise ConfigError(
            f"model {checkpoint.model!r} prepares images of {size or 'a fixed size'}; leave "
            "`image_size` out"
        )
    if getattr(image_processor, "do_center_crop", False):
        image_processor.crop_size = {"height": side, "width": side}
