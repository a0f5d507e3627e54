from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.stage import CONTENT, RUNTIME
from florilegium.specialists.detection.detector import Detector, DetectorConfig
from florilegium.specialists.pretrained.config import LoadingConfig, PretrainedConfig
from tests.checkpoints.detector import WRITERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector: any stage of this kind would do."""
    return WRITERS["detr"](tmp_path_factory.mktemp("checkpoints") / "small-detr")


def stage(folder: Path | str, **options: Any) -> Detector:
    return Detector(DetectorConfig(model=str(folder), **options))


def weights_of(detector: Detector) -> dict[str, torch.Tensor]:
    detector.load()
    return dict(detector.network.model.state_dict())


def are_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(
        torch.equal(tensor, others[name]) for name, tensor in some.items()
    )


def test_a_model_is_named_without_the_path_to_it(folder: Path) -> None:
    assert stage(folder).model == "small-detr"
    assert stage("someone/some-detr").model == "someone/some-detr"


def test_the_revision_is_the_digest_of_the_files_wherever_they_lie(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    revision = stage(folder).revision()
    assert len(revision) == 16
    assert stage(copy).revision() == revision
    WRITERS["detr"](copy, seed=1)
    assert stage(copy).revision() != revision


def test_loading_gives_a_model_in_eval_mode_with_its_processor(folder: Path) -> None:
    detector = stage(folder, dtype="bfloat16", attention="eager", threads=1)
    detector.load()
    network = detector.network
    assert not network.model.training
    dtypes = {name: weight.dtype for name, weight in network.model.named_parameters()}
    placing = ("model.decoder", "bbox_predictor", "class_labels_classifier")
    assert {dtypes[name] for name in dtypes if name.startswith(placing)} == {torch.float32}
    assert {dtypes[name] for name in dtypes if not name.startswith(placing)} == {torch.bfloat16}
    assert network.model.config._attn_implementation == "eager"
    assert type(network.processor).__name__ == "DetrImageProcessorPil"
    assert torch.get_num_threads() == 1


def test_random_weights_are_the_same_each_time_and_not_those_of_the_files(folder: Path) -> None:
    trained = weights_of(stage(folder))
    state = torch.random.get_rng_state()
    first = weights_of(stage(folder, weights="random"))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(7)
    second = weights_of(stage(folder, weights="random"))
    assert are_equal(first, second)
    assert not are_equal(first, trained)
    assert {name: tensor.shape for name, tensor in first.items()} == {
        name: tensor.shape for name, tensor in trained.items()
    }


def test_random_weights_need_no_weights_in_the_folder(folder: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        stage(bare).revision()
    assert stage(bare, weights="random").revision()
    assert weights_of(stage(bare, weights="random"))


def test_random_weights_are_marked_in_the_name_and_by_a_caveat(folder: Path) -> None:
    untrained = stage(folder, weights="random")
    assert untrained.model == "small-detr (random weights)"
    assert untrained.caveat() == "random weights"
    assert stage(folder).caveat() == ""
    assert stage(folder, weights="random").config != stage(folder).config


def test_only_what_changes_answers_counts_as_a_change() -> None:
    changing = {"weights", "image_size", "dtype"}
    for name, field in PretrainedConfig.model_fields.items():
        if name in LoadingConfig.__annotations__ or name == "model":
            is_free = RUNTIME in field.metadata or CONTENT in field.metadata
            assert is_free == (name not in changing), name


def test_a_stage_travels_before_it_is_loaded(folder: Path) -> None:
    travelled = pickle.loads(pickle.dumps(stage(folder)))
    assert travelled.revision() == stage(folder).revision()


@pytest.mark.parametrize(
    "wrong",
    [{"image_size": 8}, {"dtype": "int8"}, {"attention": "fast"}, {"threads": 0}, {"sise": 224}],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DetectorConfig(**wrong)
