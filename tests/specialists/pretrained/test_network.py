from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist
from florilegium.engine.execution.answer import ask
from florilegium.engine.planning.graph import Node
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import LoadingConfig
from florilegium.specialists.pretrained.network import (
    NOT_A_NUMBER,
    OUT_OF_MEMORY,
    TOO_THIN,
    Network,
    device_of,
    dtype_of,
    preprocess,
    to_float32,
    unbatched,
)

Inputs = Mapping[str, torch.Tensor]
CHECKPOINT = Checkpoint(
    model="someone/adder",
    folder=Path(),
    commit="",
    family=Family(title="an adder", example="someone/adder", model_class="Adder"),
    model_type="adder",
)


class Device:
    """A forward pass that adds up pixels, remembers its batches and has little memory."""

    def __init__(self, capacity: int = 1_000_000) -> None:
        self.capacity = capacity
        self.batches: list[tuple[int, ...]] = []
        self.seen: list[dict[str, torch.Tensor]] = []
        self.numbers: list[list[int]] = []

    def __call__(self, inputs: dict[str, torch.Tensor], numbers: list[int]) -> list[float]:
        pixels = inputs["pixel_values"]
        self.batches.append(tuple(pixels.shape))
        self.numbers.append(numbers)
        self.seen.append(inputs)
        assert torch.is_inference_mode_enabled()
        if pixels.numel() > self.capacity:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [float(total) for total in pixels.sum(dim=(1, 2, 3))]


def network(processor: Any = None, model: Any = None, **options: Any) -> Network:
    def load(*_: Any, **__: Any) -> tuple[Any, Any]:
        return model, processor

    return Network(CHECKPOINT, LoadingConfig(**options), load=load)


def image(value: int, side: int = 4) -> Inputs:
    return {"pixel_values": torch.full((3, side, side), float(value))}


def test_inputs_of_one_shape_share_a_batch_and_nothing_is_padded() -> None:
    device, sides = Device(), (4, 8, 4, 2, 8, 4)
    predicted = network().run([image(number, side) for number, side in enumerate(sides)], device)
    assert device.batches == [(3, 3, 4, 4), (2, 3, 8, 8), (1, 3, 2, 2)]
    assert device.numbers == [[0, 2, 5], [1, 4], [3]]
    assert predicted == [3.0 * side * side * number for number, side in enumerate(sides)]


def test_inputs_differ_in_shape_when_any_of_their_tensors_does() -> None:
    device = Device()
    texts = (3, 5, 3)
    inputs = [{**image(1), "input_ids": torch.zeros(length).long()} for length in texts]
    network().run(inputs, device)
    assert device.numbers == [[0, 2], [1]]


def test_nothing_is_asked_about_nothing() -> None:
    device = Device()
    assert network().run([], device) == []
    assert device.batches == []


@pytest.mark.parametrize(
    ("options", "batches"),
    [({"batch_size": 3}, [3, 3, 1]), ({"max_batch_pixels": 40}, [2, 2, 2, 1])],
)
def test_a_batch_has_a_size_and_a_number_of_pixels(
    options: dict[str, int], batches: list[int]
) -> None:
    device = Device()
    predicted = network(**options).run([image(number) for number in range(7)], device)
    assert [batch[0] for batch in device.batches] == batches
    assert predicted == [48.0 * number for number in range(7)]


def test_an_image_of_more_pixels_than_a_batch_may_have_goes_alone() -> None:
    device = Device()
    network(max_batch_pixels=10).run([image(number) for number in range(2)], device)
    assert [batch[0] for batch in device.batches] == [1, 1]


def test_a_batch_is_halved_when_memory_runs_out_and_stays_small() -> None:
    device = Device(capacity=48 * 3)
    asked = network()
    predicted = asked.run([image(number) for number in range(8)], device)
    assert predicted == [48.0 * number for number in range(8)]
    assert [batch[0] for batch in device.batches] == [8, 4, 2, 2, 2, 2]
    device.batches.clear()
    asked.run([image(number) for number in range(4)], device)
    assert [batch[0] for batch in device.batches] == [2, 2]


class Adding(Specialist[LoadingConfig]):
    """Says how bright an image is, by a network with little memory."""

    produces = ("tag",)

    def load(self) -> None:
        self.network, self.device = network(batch_size=8), Device(capacity=400 * 300 * 3)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        inputs = self.network.prepare(
            samples,
            lambda sample: {"pixel_values": torch.tensor(sample.image).permute(2, 0, 1).float()},
        )
        return [
            [Annotation(kind="text", task="tag", label=str(total))]
            for total in self.network.run(inputs, self.device)
        ]


def test_one_image_that_is_too_large_costs_only_itself(
    drawing: Callable[..., Sample],
) -> None:
    stage = Adding(LoadingConfig())
    stage.load()
    node = Node[Any](name="it", use="it", stage=stage, fingerprint="f")
    small = [drawing(np.full((30, 40, 3), tone, np.uint8)) for tone in (1, 2, 3)]
    large = drawing(np.ones((401, 301, 3), np.uint8))
    answers = ask(node, [*small[:2], large, small[2]])
    (error,) = [one for one in answers if isinstance(one, SampleError)]
    assert error is answers[2]
    assert error.reason == OUT_OF_MEMORY
    assert [one[0].label for one in answers if not isinstance(one, SampleError)] == [  # type: ignore[union-attr]
        str(3600.0 * tone) for tone in (1, 2, 3)
    ]


def test_preparing_keeps_the_order_and_runs_in_threads() -> None:
    both = threading.Barrier(2, timeout=5)

    def one(number: int) -> tuple[int, str]:
        both.wait()  # a single thread would wait for itself
        return number * 10, threading.current_thread().name

    prepared = network(threads=2).prepare([1, 2], one)
    assert [number for number, _ in prepared] == [10, 20]
    assert len({name for _, name in prepared}) == 2


def test_the_time_of_preparing_is_that_of_its_threads() -> None:
    def spin(seconds: float) -> None:
        end_s = time.thread_time() + seconds
        while time.thread_time() < end_s:
            pass

    asked = network(threads=2)
    asked.prepare([0.05, 0.1], spin)
    assert 0.15 <= asked.prepared_s < 0.3
    asked.in_threads([0.1], spin)
    assert asked.prepared_s < 0.3, "answers are no preparing"


def test_what_cannot_be_prepared_raises_for_its_image() -> None:
    def one(number: int) -> int:
        raise SampleError("corrupt_image", f"number {number}")

    with pytest.raises(SampleError, match="number 1"):
        network().prepare([1], one)


def test_one_call_prepares_while_another_is_on_the_device() -> None:
    asked, on_device, prepared = network(), threading.Event(), threading.Event()

    def forward(inputs: dict[str, torch.Tensor], numbers: list[int]) -> list[bool]:
        on_device.set()
        return [prepared.wait(5)]

    def second() -> list[None]:
        assert on_device.wait(5)
        return asked.prepare([1], lambda _: prepared.set())

    with ThreadPoolExecutor(2) as calls:
        first = calls.submit(asked.run, [image(1)], forward)
        calls.submit(second).result(timeout=10)
        assert first.result(timeout=10) == [True]


def test_two_calls_are_never_on_the_device_at_once() -> None:
    asked, inside, met = network(), threading.Event(), threading.Event()

    def forward(inputs: dict[str, torch.Tensor], numbers: list[int]) -> list[int]:
        if inside.is_set():
            met.set()
        inside.set()
        met.wait(0.05)
        inside.clear()
        return numbers

    with ThreadPoolExecutor(2) as calls:
        done = [calls.submit(asked.run, [image(1)], forward) for _ in range(2)]
        assert [one.result(timeout=10) for one in done] == [[0], [0]]
    assert not met.is_set()


def test_floats_get_the_type_of_the_weights_and_whole_numbers_keep_theirs() -> None:
    device = Device()
    asked = network(dtype="bfloat16")
    asked.run([{**image(1), "pixel_mask": torch.ones(4, 4).long()}], device)
    (seen,) = device.seen
    assert asked.dtype == torch.bfloat16
    assert (seen["pixel_values"].dtype, seen["pixel_mask"].dtype) == (torch.bfloat16, torch.int64)


def test_the_type_of_weights_depends_on_the_device_unless_it_is_given() -> None:
    assert dtype_of("auto", "cuda") == "bfloat16"
    assert dtype_of("auto", "cpu") == "float32"
    assert dtype_of("float16", "cuda") == "float16"


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == "cpu"
    with pytest.raises(ConfigError, match="finds no GPU here; use `auto` or `cpu`"):
        device_of("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto") == "cuda"
    assert device_of("cuda:1") == "cuda:1"


def test_loading_is_told_type_device_and_attention() -> None:
    message: dict[str, Any] = {}

    def load(checkpoint: Checkpoint, **options: Any) -> tuple[None, None]:
        message.update(options, model=checkpoint.model)
        return None, None

    config = LoadingConfig(dtype="float16", device="cpu", attention="eager")
    Network(CHECKPOINT, config, load=load)
    assert message == {
        "model": "someone/adder", "dtype": "float16", "device": "cpu", "attention": "eager"
    }  # fmt: skip


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_model_is_compiled_when_asked_for(is_compiled: bool) -> None:
    compiled: list[bool] = []
    model = SimpleNamespace(compile=lambda: compiled.append(True))
    network(model=model, compile=is_compiled)
    assert compiled == [True] * is_compiled


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"height": 640, "width": 480}, {"height": 320, "width": 320}),
        ({"shortest_edge": 800}, {"shortest_edge": 320}),
        (
            {"shortest_edge": 800, "longest_edge": 1333},
            {"shortest_edge": 320, "longest_edge": 533},
        ),
        ({"longest_edge": 1456}, {"longest_edge": 320}),
    ],
)
@pytest.mark.parametrize("is_nested", [True, False])
def test_the_image_size_goes_to_the_image_processor(
    size: dict[str, int], expected: dict[str, int], is_nested: bool
) -> None:
    images = SimpleNamespace(size=size)
    network(SimpleNamespace(image_processor=images) if is_nested else images, image_size=320)
    assert images.size == expected


def test_the_image_size_of_a_family_that_counts_pixels_is_the_side_of_a_square() -> None:
    images = SimpleNamespace(size={"shortest_edge": 3136, "longest_edge": 1003520}, merge_size=2)
    network(SimpleNamespace(image_processor=images), image_size=320)
    assert images.size == {"shortest_edge": 320**2, "longest_edge": 320**2}


def test_an_image_size_where_there_is_none_to_set_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'someone/adder' prepares images of .*leave"):
        network(SimpleNamespace(size={"max_pixels": 4096}), image_size=320)


def test_a_crop_is_as_large_as_the_image() -> None:
    images = SimpleNamespace(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, do_center_crop=True
    )
    network(images, image_size=336)
    assert images.crop_size == {"height": 336, "width": 336}


def test_what_one_image_became_has_no_batch() -> None:
    assert unbatched({"pixel_values": torch.zeros(1, 3, 4, 5)})["pixel_values"].shape == (3, 4, 5)


def test_a_strip_of_three_rows_is_not_taken_for_three_channels() -> None:
    from transformers import DetrImageProcessorPil, ViTImageProcessorPil

    strip = np.zeros((3, 900, 3), np.uint8)
    strip[..., 0] = 255  # red
    square = ViTImageProcessorPil(size={"height": 16, "width": 16}, do_normalize=False)
    pixels = preprocess(square, strip)["pixel_values"]
    assert pixels.shape == (3, 16, 16)
    assert pixels.mean(dim=(1, 2)).tolist() == pytest.approx([1, 0, 0])
    with pytest.raises(SampleError, match="900x3 pixels cannot be resized") as caught:
        preprocess(DetrImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 96}), strip)
    assert caught.value.reason == TOO_THIN


def test_what_a_model_says_is_read_in_float32_and_must_be_a_number() -> None:
    assert to_float32(torch.ones(2).bfloat16()).dtype == torch.float32
    assert to_float32(torch.tensor([float("-inf")])).isinf()  # a masked logit
    with pytest.raises(SampleError, match=r"NaN in torch\.float16; use a wider `dtype`") as caught:
        to_float32(torch.tensor([1.0, float("nan")]).half())
    assert caught.value.reason == NOT_A_NUMBER


class Event:
    """In place of `torch.cuda.Event`: remembers what happened, and whether in the device's turn."""

    asked: Network
    happened: list[tuple[str, bool]]

    def __init__(self, *, blocking: bool) -> None:
        assert blocking, "a thread that waits must not take a core"

    @classmethod
    def note(cls, what: str) -> None:
        cls.happened.append((what, cls.asked._device_lock.locked()))

    def record(self, _: object) -> None:
        self.note("copied")

    def synchronize(self) -> None:
        self.note("awaited")


def test_outputs_of_a_gpu_are_awaited_and_finished_outside_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = network()
    asked.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    Event.asked, Event.happened = asked, []

    def compute(numbers: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        Event.note("computed")
        return torch.tensor(numbers), [torch.tensor(numbers) * 10]

    def finish(outputs: tuple[torch.Tensor, list[torch.Tensor]], _: object) -> list[int]:
        Event.note("finished")
        return [int(one) for one in outputs[0] + outputs[1][0]]

    assert asked.attempt([3, 4], compute, finish) == [33, 44]
    assert Event.happened == [
        ("computed", True), ("copied", True), ("awaited", False), ("finished", False)
    ]  # fmt: skip


def test_the_device_computes_while_answers_of_another_batch_are_made() -> None:
    asked, computed = network(), threading.Event()

    def finish(totals: torch.Tensor, _: object) -> list[bool]:
        return [computed.wait(5)]

    def second() -> list[None]:
        return asked.run([image(1)], lambda *_: torch.zeros(1), lambda *_: [computed.set()])

    with ThreadPoolExecutor(2) as calls:
        first = calls.submit(asked.run, [image(1)], lambda *_: torch.zeros(1), finish)
        calls.submit(second).result(timeout=10)
        assert first.result(timeout=10) == [True]


def test_answers_belong_to_their_inputs_when_a_batch_is_halved() -> None:
    device = Device(capacity=48 * 3)
    numbers: list[int] = []

    def finish(totals: torch.Tensor, own: Sequence[int]) -> list[tuple[int, float]]:
        numbers.extend(own)
        return [(number, float(total)) for number, total in zip(own, totals, strict=True)]

    inputs = [image(number, 4 if number % 2 else 2) for number in range(9)]
    predicted = network().run(inputs, lambda *batch: torch.tensor(device(*batch)), finish)
    assert predicted == [(n, n * (48.0 if n % 2 else 12.0)) for n in range(9)]
    assert sorted(numbers) == list(range(9))


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_missing_answer_is_an_error_and_no_answer_of_another_input(dropped: int) -> None:
    def all_but_one(outputs: torch.Tensor, _: object) -> list[float]:
        return [*map(float, outputs[:dropped]), *map(float, outputs[dropped + 1 :])]

    asked = network()
    with pytest.raises(ValueError, match="shorter"):
        asked.attempt(range(3), torch.tensor, all_but_one)
    with pytest.raises(ValueError, match="shorter"):
        asked.attempt(range(3), lambda numbers: all_but_one(torch.tensor(numbers), None))


def test_outputs_without_a_finish_stay_where_they_are() -> None:
    def forward(batch: dict[str, torch.Tensor], _: object) -> torch.Tensor:
        return batch["pixel_values"].to("meta")

    found: list[torch.Tensor] = network().run([image(1), image(2)], forward)
    assert [one.device.type for one in found] == ["meta", "meta"]
