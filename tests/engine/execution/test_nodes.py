"""What a run may use of the nodes of a cluster; no Ray is started."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from florilegium.engine.execution import nodes as nodes_module
from florilegium.engine.execution.nodes import is_selected, machines_of, nodes_of_ray
from florilegium.engine.planning.config import RunnerConfig
from florilegium.engine.planning.pools import Machines


def node(name: str, *, is_alive: bool = True, zone: str = "", **resources: float) -> dict[str, Any]:
    """A node, as `ray.nodes()` describes it."""
    labels = {"zone": zone} if zone else {}
    return {"NodeID": name, "Alive": is_alive, "Resources": resources, "Labels": labels}


NODES = [
    node("a", CPU=4.0, GPU=2.0, zone="east"),
    node("b", CPU=2.0, zone="west"),
    node("c", CPU=8.0, GPU=8.0, is_alive=False),
    node("d", CPU=1.5, GPU=1.0),
    node("e", memory=100.0),
]


def used(monkeypatch: pytest.MonkeyPatch, *draining: str, **runner: Any) -> Machines:
    monkeypatch.setattr("ray.nodes", lambda: NODES)
    monkeypatch.setattr(nodes_module, "_draining", lambda: draining)
    found = nodes_of_ray(RunnerConfig(**runner))
    assert found.leaving == set(draining)
    return found.machines


def test_nodes_that_are_dead_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch) == Machines(cpus=7, gpus_by_node=(2, 1))


def test_nodes_that_will_leave_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, "a") == Machines(cpus=3, gpus_by_node=(1,))


def test_nodes_that_are_not_selected_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, label_selector={"zone": "east"}) == Machines(cpus=4, gpus_by_node=(2,))
    not_east = Machines(cpus=3, gpus_by_node=(1,))
    assert used(monkeypatch, label_selector={"zone": "!east"}) == not_east


def test_a_share_is_one_of_what_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = used(monkeypatch, "d", share=0.5, max_gpus=0.75)
    assert found == Machines(cpus=3, gpus_by_node=(2,), max_gpus=0.75)


def test_half_a_cpu_holds_no_worker() -> None:
    assert machines_of([node("a", CPU=1.5), node("b", CPU=1.5)]).cpus == 2


@pytest.mark.parametrize(
    ("wanted", "east", "west", "none"),
    [
        ("east", True, False, False),
        ("!east", False, True, True),
        ("in(east, north)", True, False, False),
        ("in(west,east)", True, True, False),
        ("!in(east, north)", False, True, True),
    ],
)
def test_labels_are_selected_as_ray_does(wanted: str, east: bool, west: bool, none: bool) -> None:
    selector = {"zone": wanted}
    found = [is_selected(labels, selector) for labels in ({"zone": "east"}, {"zone": "west"}, {})]
    assert found == [east, west, none]


def test_every_label_of_a_selector_is_wanted() -> None:
    selector = {"zone": "east", "disk": "!slow"}
    assert is_selected({"zone": "east", "disk": "fast"}, selector)
    assert not is_selected({"zone": "east", "disk": "slow"}, selector)


@pytest.mark.parametrize("wanted", ["", "!", "in()", "near(east)", "east west", "in(east", "-a"])
def test_a_selector_that_ray_would_refuse_is_refused_with_the_config(wanted: str) -> None:
    from ray._private.label_utils import validate_label_selector

    assert wanted == "" or validate_label_selector({"zone": wanted})
    with pytest.raises(ValidationError):
        RunnerConfig(label_selector={"zone": wanted})


def test_a_client_of_ray_sees_no_draining_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def unconnected() -> None:
        raise RuntimeError("not connected")

    monkeypatch.setattr("ray._private.state.state.get_draining_nodes", unconnected)
    assert not nodes_module._draining()
