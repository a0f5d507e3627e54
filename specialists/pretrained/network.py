"""A loaded model on its device, asked in batches.

Preparing runs in threads; the device takes one batch at a time, so while it computes one call's
batch another call decodes and prepares. Only inputs of one shape share a batch of `run`: nothing
is padded, and what the model says of an image does not depend on its neighbours. Where memory runs
out, batches are halved. Knows no annotations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from engine.core.errors import ConfigError, SampleError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from specialists.pretrained.checkpoint import Checkpoint
    from specialists.pretrained.config import LoadingConfig

T = TypeVar("T")
PreparedT = TypeVar("PreparedT")
AnswerT = TypeVar("AnswerT")
Load = Callable[..., tuple[Any, Any]]

OUT_OF_MEMORY = "out_of_memory"
TOO_THIN = "too_thin"
NOT_A_NUMBER = "not_a_number"


class Network:
    """Weights, processor and device of one checkpoint.

    `load` is called with the checkpoint, dtype, device and attention implementation; by default
    `load_pretrained`.

    Raises:
        ConfigError: the checkpoint, the device or the image size cannot be used.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: LoadingConfig, *, load: Load | None = None
    ) -> None:
        import torch

        from specialists.pretrained.loading import load_pretrained

        self.checkpoint = checkpoint
        self.device = torch.device(device_of(config.device))
        threads = threads_of(config.threads, self.device.type)
        if self.device.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        dtype = dtype_of(config.dtype, self.device.type)
        self.dtype = getattr(torch, dtype)
        self.model, self.processor = (load or load_pretrained)(
            checkpoint, dtype=dtype, device=str(self.device), attention=config.attention
        )
        if config.image_size is not None:
            _set_image_size(checkpoint, self.processor, config.image_size)
        if config.compile:
            self.model.compile()
        self._batch_size = self._most_at_once = config.batch_size
        self._max_pixels = config.max_batch_pixels
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prepare")

    def prepare(self, things: Sequence[T], one: Callable[[T], PreparedT]) -> list[PreparedT]:
        """Decode and preprocess in threads: call `one` on each, in their order."""
        return list(self._threads.map(one, things))

    def ask(
        self,
        things: Sequence[T],
        one: Callable[[T], Mapping[str, Tensor]],
        forward: Callable[[dict[str, Tensor], list[int]], Sequence[AnswerT]],
        *,
        batches: int = 4,
    ) -> list[AnswerT]:
        """Prepare things and ask about them (`run`), so many batches at a time.

        Of lines and crops an image has hundreds, and prepared each is as large as an image.
        """
        answers: list[AnswerT] = []
        for numbers in _cut(range(len(things)), batches * self._most_at_once):
            inputs = self.prepare([things[number] for number in numbers], one)
            answers += self.run(inputs, forward)
        return answers

    def run(
        self,
        inputs: Sequence[Mapping[str, Tensor]],
        forward: Callable[[dict[str, Tensor], list[int]], Sequence[T]],
    ) -> list[T]:
        """Ask about inputs; return what `forward` says of each, in their order.

        An input is a mapping of tensors without a batch dimension, as `unbatched` makes it.
        `forward` gets those of one batch stacked, on the device, floats in the model's dtype, with
        the numbers of the inputs; it returns one answer each, which should not stay on the device
        (Florence-2's image tokens do, for one call). One thread calls it, in inference mode.
        """
        found: dict[int, T] = {}
        for batch in self._batches(inputs):
            call = self._call(batch, inputs, forward)
            found.update(zip(batch, self.attempt(batch, call), strict=True))
        return [found[number] for number in range(len(inputs))]

    def _call(
        self,
        batch: Sequence[int],
        inputs: Sequence[Mapping[str, Tensor]],
        forward: Callable[[dict[str, Tensor], list[int]], Sequence[T]],
    ) -> Callable[[Sequence[int]], Sequence[T]]:
        """Stack a batch before it is its turn, and return what asks about part of it in its turn.

        Megabytes of floats are copied here while the device computes something else.
        """
        stacked = self._stacked([inputs[number] for number in batch])
        rows = {number: row for row, number in enumerate(batch)}

        def call(numbers: Sequence[int]) -> Sequence[T]:
            # A batch is halved in order, so a part of it is a slice.
            part = slice(rows[numbers[0]], rows[numbers[-1]] + 1)
            placed = {name: self.placed(tensor[part]) for name, tensor in stacked.items()}
            return forward(placed, list(numbers))

        return call

    def attempt(
        self, numbers: Sequence[int], call: Callable[[Sequence[int]], Sequence[T]]
    ) -> list[T]:
        """Make a call on the device, in halves where memory does not suffice.

        Raises:
            SampleError: `out_of_memory`, when one input alone is too large.
        """
        import torch

        if not numbers:
            return []
        if len(numbers) > self._batch_size:
            return [
                one for part in _cut(numbers, self._batch_size) for one in self.attempt(part, call)
            ]
        try:
            with self._turn, torch.inference_mode():
                return list(call(numbers))
        except torch.OutOfMemoryError as error:
            if len(numbers) == 1:
                raise SampleError(
                    OUT_OF_MEMORY, f"one image needs more memory than {self.device} has: {error}"
                ) from error
        # Not in the handler: the error holds on to the tensors of the attempt.
        self._batch_size = min(self._batch_size, len(numbers) // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.attempt(numbers, call)

    def _batches(self, inputs: Sequence[Mapping[str, Tensor]]) -> Iterator[list[int]]:
        """Cut inputs into batches of one shape, of no more pixels than allowed."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, one in enumerate(inputs):
            shapes = tuple((name, tuple(tensor.shape)) for name, tensor in one.items())
            groups.setdefault(shapes, []).append(number)
        for group in groups.values():
            pixels = sum(t.numel() // 3 for t in inputs[group[0]].values() if t.is_floating_point())
            fitting = max(1, self._max_pixels // max(pixels, 1))
            yield from _cut(group, min(self._batch_size, fitting))

    def _stacked(self, inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return inputs as a batch on the host, from where the device can fetch it by itself."""
        return {name: self._on_host([one[name] for one in inputs]) for name in inputs[0]}

    def _on_host(self, tensors: Sequence[Tensor]) -> Tensor:
        import torch

        dtype = self.dtype if tensors[0].is_floating_point() else tensors[0].dtype
        stacked = torch.stack([tensor.to(dtype) for tensor in tensors])
        return stacked.pin_memory() if self.device.type == "cuda" else stacked

    def placed(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device, floats in the model's dtype."""
        if tensor.is_floating_point():
            return tensor.to(self.device, self.dtype, non_blocking=True)
        return tensor.to(self.device, non_blocking=True)


def unbatched(features: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what a processor made of one image or text, without the batch dimension."""
    return {name: tensor[0] for name, tensor in features.items()}


def pictured(image_processor: Any, pixels: np.ndarray) -> dict[str, Tensor]:
    """Return what an image processor makes of RGB pixels, uint8, (height, width, 3).

    Raises:
        SampleError: `too_thin`, when a side would shrink to nothing.
    """
    from PIL import Image

    # As an image and not an array: of a strip of three pixels nobody knows the channels.
    image = Image.fromarray(pixels)
    try:
        return unbatched(image_processor(images=image, return_tensors="pt"))
    except ValueError as error:
        raise SampleError(
            TOO_THIN,
            f"{image.width}x{image.height} pixels cannot be resized as this model wants: {error}",
        ) from error


def exact(output: Tensor) -> Tensor:
    """Return what a model said in float32, in which it is read whatever it was computed in.

    Raises:
        SampleError: `not_a_number`, for comparisons with it would silently say nothing.
    """
    if output.isnan().any():
        raise SampleError(
            NOT_A_NUMBER, f"the model computed NaN in {output.dtype}; use a wider `dtype`"
        )
    return output.float()


def finite(output: Tensor) -> np.ndarray:
    """Return what a model said as a float32 array on the host, as `exact` does."""
    values: np.ndarray = exact(output).cpu().numpy()
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
    """Return how many threads prepare images; a GPU is fed by more than one."""
    return (1 if device_type == "cpu" else 8) if isinstance(threads, str) else threads


def dtype_of(dtype: str, device_type: str) -> str:
    """Return the name of a torch dtype; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return "bfloat16" if device_type == "cuda" else "float32"
    return dtype


def _set_image_size(checkpoint: Checkpoint, processor: Any, side: int) -> None:
    """Have images prepared with another side, in the way in which the processor gives it."""
    image_processor = getattr(processor, "image_processor", processor)
    size = dict(image_processor.size or {})
    if hasattr(image_processor, "merge_size"):  # Qwen-VL and its kin count pixels
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


def _cut(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield list(numbers[start : start + size])
