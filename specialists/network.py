"""A loaded model on its device, asked in batches.

Preparing runs in threads; the device takes one batch at a time, so while it computes one call's
batch another call decodes and prepares. Only inputs of one shape share a batch: nothing is
padded, and what the model says of an image does not depend on its neighbours. Where memory runs
out, batches are halved. Knows no annotations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import ConfigError, SampleError

if TYPE_CHECKING:
    from torch import Tensor

    from specialists.checkpoint import Checkpoint
    from specialists.pretrained import LoadingConfig

T = TypeVar("T")
PreparedT = TypeVar("PreparedT")
Load = Callable[..., tuple[Any, Any]]

OUT_OF_MEMORY = "out_of_memory"


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

        from specialists.loading import load_pretrained

        if torch.get_num_threads() != config.threads:
            torch.set_num_threads(config.threads)
        self.device = torch.device(device_of(config.device))
        dtype = dtype_of(config.dtype, self.device.type)
        self.dtype = getattr(torch, dtype)
        self.model, self.processor = (load or load_pretrained)(
            checkpoint, dtype=dtype, device=str(self.device), attention=config.attention
        )
        if config.image_size is not None:
            _set_image_size(checkpoint, self.processor, config.image_size)
        if config.compile:
            self.model.compile()
        self._batch_size = config.batch_size
        self._max_pixels = config.max_batch_pixels
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="prepare")

    def prepare(self, things: Sequence[T], one: Callable[[T], PreparedT]) -> list[PreparedT]:
        """Decode and preprocess in threads: call `one` on each, in their order."""
        return list(self._threads.map(one, things))

    def run(
        self,
        inputs: Sequence[Mapping[str, Tensor]],
        forward: Callable[[dict[str, Tensor], list[int]], Sequence[T]],
    ) -> list[T]:
        """Ask about inputs; return what `forward` says of each, in their order.

        An input is a mapping of tensors without a batch dimension, as `unbatched` makes it.
        `forward` gets those of one batch stacked, on the device, floats in the model's dtype, with
        the numbers of the inputs; it returns one answer each, of which nothing is left on the
        device. It is called in inference mode, by one thread at a time.
        """

        def call(numbers: Sequence[int]) -> Sequence[T]:
            return forward(self._stacked([inputs[number] for number in numbers]), list(numbers))

        found: dict[int, T] = {}
        for batch in self._batches(inputs):
            found.update(zip(batch, self.attempt(batch, call), strict=True))
        return [found[number] for number in range(len(inputs))]

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
        self._batch_size = len(numbers) // 2
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
        import torch

        return {name: self.placed(torch.stack([one[name] for one in inputs])) for name in inputs[0]}

    def placed(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device, floats in the model's dtype."""
        if tensor.is_floating_point():
            return tensor.to(self.device, self.dtype, non_blocking=True)
        return tensor.to(self.device, non_blocking=True)


def unbatched(features: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what a processor made of one image or text, without the batch dimension."""
    return {name: tensor[0] for name, tensor in features.items()}


def device_of(device: str) -> str:
    """Return a torch device; `auto` is the GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r}: torch finds no GPU here; use `auto` or `cpu`")
    return device


def dtype_of(dtype: str, device_type: str) -> str:
    """Return the name of a torch dtype; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return "bfloat16" if device_type == "cuda" else "float32"
    return dtype


def _set_image_size(checkpoint: Checkpoint, processor: Any, side: int) -> None:
    """Have images prepared with another side, the shorter one where the aspect is kept."""
    image_processor = getattr(processor, "image_processor", processor)
    size = dict(image_processor.size or {})
    if "height" in size:
        image_processor.size = {"height": side, "width": side}
    elif "shortest_edge" in size:
        longest = size.get("longest_edge")
        factor = side / size["shortest_edge"]
        image_processor.size = {"shortest_edge": side} | (
            {"longest_edge": round(longest * factor)} if longest else {}
        )
    else:
        raise ConfigError(
            f"model {checkpoint.model!r} prepares images of {size or 'a fixed size'}; leave "
            "`image_size` out"
        )


def _cut(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield list(numbers[start : start + size])
