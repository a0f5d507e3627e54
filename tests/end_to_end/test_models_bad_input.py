"""Models that cannot be used, named before anything starts, whichever stage asks for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.registry import find_stage, stage_names
from florilegium.specialists.pretrained.stage import Pretrained
from tests.end_to_end.conftest import Command, Ended

STAGES = [name for name in stage_names() if issubclass(find_stage(name), Pretrained)]
NEEDS_TORCHVISION = [
    (name, model_type)
    for name in STAGES
    for model_type in find_stage(name).family.needs_torchvision  # type: ignore[attr-defined]
]
"""Model types whose images only torchvision prepares."""
PLAIN = [
    (name, model_type)
    for name in STAGES
    for model_type in find_stage(name).family.model_types[:1]  # type: ignore[attr-defined]
    if (name, model_type) not in NEEDS_TORCHVISION
]
"""One model type of each stage that needs no torchvision."""

NEEDED: Mapping[str, Mapping[str, Any]] = {
    "translate": {"to": ["de"]},
    "round_trip": {"languages": ["de"]},
}
"""Options without which a stage is refused before its model is looked at."""

Plan = Callable[..., Ended]


@pytest.fixture
def planned(florilegium: Command, holiday: Path, tmp_path: Path) -> Plan:
    """Ask for the plan of a build with one stage, by `--dry-run` or on the way to a build."""

    def run(name: str, *, is_dry: bool = True, **options: Any) -> Ended:
        section = find_stage(name).section
        document: dict[str, Any] = {
            "source": {"url": str(holiday), "provides": list(TASKS)},
            "output": str(tmp_path / "out"),
            "runner": "in_process",
            "specialists": {"bright": {"use": "tests.stages:Brightest"}},
        }
        document.setdefault(section, {})[name] = {**NEEDED.get(name, {}), **options}
        config = tmp_path / "run.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        done = florilegium("build", config, *(["--dry-run"] if is_dry else []))
        assert not (tmp_path / "out").exists()
        return done._replace(err=" ".join(done.err.split()))

    return run


@pytest.fixture
def refusal(planned: Plan) -> Callable[..., str]:
    """Ask for a plan that cannot be, and return why."""

    def run(name: str, **options: Any) -> str:
        done = planned(name, **options)
        assert done.code == 2, done
        assert "Traceback" not in done.err
        return done.err

    return run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder that looks like a checkpoint of a model type, with some weights."""

    def write(model_type: str) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        save_file({"weight": np.zeros(64, np.float32)}, folder / "model.safetensors")
        return folder

    return write


@pytest.mark.parametrize(
    "name",
    [name for name in STAGES if find_stage(name).family.model_types],  # type: ignore[attr-defined]
)
def test_a_model_of_another_kind_is_told_from_what_is_needed(
    name: str, refusal: Callable[..., str], checkpoint: Callable[..., Path]
) -> None:
    family = find_stage(name).family  # type: ignore[attr-defined]
    text = refusal(name, model=str(checkpoint("wav2vec2")))
    assert f"is of type 'wav2vec2'; {family.title} is needed" in text
    assert repr(family.example) in text
    assert family.model_types[0] in text


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_or_gated_model_ends_with_the_command_that_fetches_it(
    name: str, planned: Plan, refusal: Callable[..., str]
) -> None:
    model = {"model": "nobody/has-this", "revision": "v2"}
    command = "hf download nobody/has-this --revision v2"
    text = refusal(name, is_dry=False, **model)
    assert command in text
    assert "a gated one after `hf auth login`" in text
    only_looked_at = planned(name, **model)
    assert only_looked_at.code == 0
    assert command in only_looked_at.out


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_folder_and_no_model_at_all_are_told(
    name: str, refusal: Callable[..., str]
) -> None:
    assert "there is no such folder" in refusal(name, model="/no/such/folder")
    assert "model is empty" in refusal(name, model=" ")


@pytest.mark.parametrize(("name", "model_type"), PLAIN)
def test_pickled_weights_are_not_read(
    name: str, model_type: str, refusal: Callable[..., str], checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(model_type)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    text = refusal(name, model=str(folder))
    assert "pickled weights only (pytorch_model.bin), which may run code when read" in text


@pytest.mark.parametrize(("name", "model_type"), PLAIN)
@pytest.mark.parametrize("kept", [4, -10])
def test_weights_that_were_cut_off_are_found_before_they_are_loaded(
    name: str,
    model_type: str,
    kept: int,
    refusal: Callable[..., str],
    checkpoint: Callable[..., Path],
) -> None:
    weights = checkpoint(model_type) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "model.safetensors is damaged" in refusal(name, model=str(weights.parent))


@pytest.mark.parametrize(("name", "model_type"), PLAIN)
def test_a_folder_without_config_or_weights_is_no_checkpoint(
    name: str, model_type: str, refusal: Callable[..., str], checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(model_type)
    (folder / "model.safetensors").unlink()
    assert "no *.safetensors" in refusal(name, model=str(folder))
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(name, model=str(folder))


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize(("name", "model_type"), NEEDS_TORCHVISION)
def test_missing_torchvision_is_told_with_the_line_that_brings_it(
    name: str, model_type: str, refusal: Callable[..., str], checkpoint: Callable[..., Path]
) -> None:
    text = refusal(name, model=str(checkpoint(model_type)))
    assert f"the processor of {model_type} needs torchvision" in text
    assert "pip install 'florilegium[torchvision]'" in text
