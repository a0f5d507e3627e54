from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from florilegium.engine.core.sample import Picture
from florilegium.specialists.pretrained.handover import receive, send

LARGE = 3 * 50 * 70


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = Pipe()
    with ours, theirs:
        yield ours, theirs


def handed_over(pipe: tuple[Connection, Connection], value: Any) -> Any:
    send(pipe[0], value)
    return receive(pipe[1])


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(3, 50, 70), (2, 3), (0, 4), ()])
def test_a_tensor_arrives_bit_by_bit(
    pipe: tuple[Connection, Connection], dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    tensor = (torch.randn(shape) * 100).to(dtype)
    (found,) = handed_over(pipe, [tensor])
    assert found.dtype == dtype
    assert found.shape == tensor.shape
    assert torch.equal(found, tensor)


def test_values_keep_their_order_in_memory(pipe: tuple[Connection, Connection]) -> None:
    tensor = torch.arange(LARGE).reshape(50, 70, 3).permute(2, 0, 1)
    found = handed_over(pipe, tensor)
    assert found.stride() == tensor.stride()
    assert torch.equal(found, tensor)


def test_a_tensor_with_gaps_arrives_without_them(pipe: tuple[Connection, Connection]) -> None:
    tensor = torch.arange(LARGE).reshape(3, 50, 70)[:, ::2, ::3]
    assert torch.equal(handed_over(pipe, tensor), tensor)


def test_mixed_values_arrive_and_can_be_changed_on_one_side(
    pipe: tuple[Connection, Connection],
) -> None:
    value = {"a": torch.ones(LARGE), "b": [np.arange(LARGE), "text"], "c": torch.tensor([1.5])}
    found = handed_over(pipe, value)
    found["a"] += 1
    found["b"][0][0] = -1
    assert found["b"][1] == "text"
    assert torch.equal(found["c"], value["c"])
    assert float(found["a"].sum()) == 2 * LARGE
    assert np.array_equal(found["b"][0][1:], np.arange(1, LARGE))


def test_more_parts_than_one_write_takes_arrive(pipe: tuple[Connection, Connection]) -> None:
    tensors = [torch.full((1100,), float(number)) for number in range(600)]
    found = handed_over(pipe, tensors)
    assert [float(one[-1]) for one in found] == [float(number) for number in range(600)]


def test_a_picture_arrives_with_its_bytes_and_without_its_pixels(
    pipe: tuple[Connection, Connection], photographs: dict[str, Path]
) -> None:
    picture = Picture(memoryview(photographs["cat"].read_bytes()))
    pixels = picture.pixels()
    found = handed_over(pipe, picture)
    assert found._pixels is None
    assert np.array_equal(found.pixels(), pixels)


def test_memory_is_free_when_the_last_tensor_is_gone(pipe: tuple[Connection, Connection]) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before, names = files(), os.listdir("/dev/shm")
    found = handed_over(pipe, [torch.ones(LARGE), torch.ones(LARGE)])
    kept = found[0][5:9]
    del found
    gc.collect()
    assert files() == before + 1
    assert kept.tolist() == [1.0] * 4
    assert os.listdir("/dev/shm") == names, "what has a name can be left behind"
    del kept
    gc.collect()
    assert files() == before


def test_what_cannot_be_pickled_leaves_the_pipe_as_it_was(
    pipe: tuple[Connection, Connection],
) -> None:
    with pytest.raises(Exception, match="pickle"):
        send(pipe[0], [torch.ones(LARGE), lambda: None])
    assert handed_over(pipe, "next") == "next"
