"""Passes by the tests of this folder where there is no torchvision; fixtures of specialists."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from florilegium.testing import worker
from tests.checkpoints import needs_torchvision
from tests.specialists.conftest import awkward, drawing, odd_images, photograph

__all__ = ["awkward", "drawing", "odd_images", "photograph"]

collect_ignore_glob = [] if find_spec("torchvision") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _workers_have_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kit's processes make torchvision importable, too, before they import torch."""
    monkeypatch.setattr(worker, "HEAVY", (f"{__package__}.operators", *worker.HEAVY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the contract, keep what is about a stage that needs torchvision."""
    items[:] = [item for item in items if not _is_asked_elsewhere(item)]


def _is_asked_elsewhere(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or item.path.name != "test_contract.py":
        return False
    return "name" not in item.fixturenames or not needs_torchvision(item.callspec.params["name"])
