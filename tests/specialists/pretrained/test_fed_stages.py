"""What feeders prepare is what threads prepare, for each family of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from florilegium.engine.core.annotation import Annotation, Provenance, stamp
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.execution.answer import ask
from florilegium.engine.planning.graph import Node
from florilegium.engine.planning.registry import find_stage
from florilegium.specialists.pretrained.feeders import Feeders
from florilegium.specialists.pretrained.network import Network
from florilegium.specialists.pretrained.stage import HasNetworks
from tests.checkpoints import needs_torchvision

STAGES = (
    *("detector", "open_vocabulary", "grounding", "segment_anything", "trocr", "florence2"),
    *("image_tags", "image_text", "region_label", "chat_caption", "region_text"),
)
FOUND = (
    Annotation(kind="text", task="caption", text="A cat sits beside a red cup.", language="en"),
    Annotation(kind="region", task="object_detection", label="cat", box_xyxy=(9, 5, 180, 150)),
    Annotation(kind="region", task="object_detection", label="cup", box_xyxy=(100, 60, 160, 120)),
    Annotation(kind="region", task="ocr", text="STOP", box_xyxy=(20, 20, 120, 50)),
)


@pytest.fixture(scope="module")
def feeders() -> Iterator[Feeders]:
    two = Feeders(2)
    yield two
    two.close()


class Compared:
    """Prepares by feeders and by threads, and compares both."""

    def __init__(self, feeders: Feeders, network: Network) -> None:
        self._feeders = feeders
        self._network = network
        self.count = 0

    def prepare(self, items: Sequence[Any], one: Callable[[Any], Any]) -> tuple[list[Any], float]:
        found, cpu_s = self._feeders.prepare(items, one)
        assert is_same(found, self._network.in_threads(items, one))
        self.count += len(items)
        return found, cpu_s


def is_same(one: Any, other: Any) -> bool:
    """Return whether two nested values have the same tensors, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and (one.dtype, one.stride()) == (
            other.dtype,
            other.stride(),
        )
    if isinstance(one, Mapping):
        return [*one] == [*other] and all(is_same(one[name], other[name]) for name in one)
    assert isinstance(one, list), type(one)
    return len(one) == len(other) and all(map(is_same, one, other))


@pytest.fixture(scope="module")
def samples(photographs: dict[str, Path]) -> list[Sample]:
    from PIL import Image

    found = []
    for name in ("cat", "rocket", "page"):
        with Image.open(photographs[name]) as photograph:
            width, height = photograph.size
        found.append(
            Sample(
                key=name,
                width=width,
                height=height,
                picture=Picture(photographs[name].read_bytes()),
                annotations=tuple(stamp(FOUND, Provenance(stage="earlier"), name)),
            )
        )
    return found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    def load(name: str, **more: Any) -> Any:
        options = import_module(f"tests.checkpoints.{name}").options(tmp_path_factory.mktemp(name))
        stage = find_stage(name)
        own = stage(stage.Config(**options, **more))
        own.load()
        return own

    return load


@pytest.mark.parametrize("name", STAGES)
def test_what_feeders_prepare_is_what_threads_prepare(
    name: str, loaded: Callable[..., Any], feeders: Feeders, samples: list[Sample]
) -> None:
    assert not needs_torchvision(name)
    stage = loaded(name)
    assert isinstance(stage, HasNetworks)
    compared = [Compared(feeders, network) for network in stage.networks()]
    for network, own in zip(stage.networks(), compared, strict=True):
        network._feeders = own  # type: ignore[assignment]
    stage.answer(samples)
    assert sum(own.count for own in compared) >= len(samples)


def test_an_image_that_ends_a_feeder_costs_only_itself(
    loaded: Callable[..., Any], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = loaded("detector", feeders=1)
    node = Node[Any](name="it", use="it", stage=stage, fingerprint="f")
    wanted = ask(node, samples[:2])
    deadly = replace(samples[0], key="deadly", picture=Deadly(b""))
    *found, last = ask(node, [*samples[:2], deadly])
    assert found == wanted
    assert isinstance(last, SampleError)
    assert last.reason == "process_died"
    assert "SIGKILL" in last.message


class Deadly(Picture):
    """A picture whose decoding ends the process."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Deadly, (b"",)

    def pixels(self) -> Any:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
