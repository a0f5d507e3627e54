from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, MissingModel
from florilegium.specialists.florence2.checkpoint import load_florence2, resolve_florence2
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.specialist import Florence2
from florilegium.specialists.pretrained import checkpoint
from florilegium.specialists.pretrained.checkpoint import model_name

Tiny = Callable[[int], Path]


@pytest.fixture
def copy(tiny_florence2: Tiny, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_florence2(0), tmp_path / "student"))


def test_the_digest_names_the_weights_and_not_the_place(tiny_florence2: Tiny, copy: Path) -> None:
    here = resolve_florence2(str(copy))
    assert here.digest == resolve_florence2(str(tiny_florence2(0))).digest
    assert here.digest != resolve_florence2(str(tiny_florence2(1))).digest
    (copy / "README.md").write_text("A student.")
    assert resolve_florence2(str(copy)).digest == here.digest
    (copy / "generation_config.json").write_text("{}")
    assert resolve_florence2(str(copy)).digest != here.digest


def test_a_worker_that_loads_weights_does_not_read_them_for_a_digest(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was planned with it, and each worker would read gigabytes for nothing."""
    digested: list[Path] = []
    monkeypatch.setattr(checkpoint, "_file_digest", lambda path, *_: digested.append(path))
    stage = Florence2(Florence2Config(model=str(copy)))
    stage.load()
    assert digested == []
    assert stage.revision()
    assert copy / "model.safetensors" in digested


def test_a_model_is_named_without_the_path_to_it(copy: Path) -> None:
    assert resolve_florence2(str(copy)).name == "student"
    assert model_name("florence-community/Florence-2-base") == "florence-community/Florence-2-base"
    assert (
        model_name("package://florilegium/specialists/tiny")
        == "package://florilegium/specialists/tiny"
    )


def test_a_folder_of_an_installed_package_is_found(
    tiny_florence2: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "students").mkdir()
    (tmp_path / "students" / "__init__.py").touch()
    shutil.copytree(tiny_florence2(0), tmp_path / "students" / "first")
    monkeypatch.syspath_prepend(tmp_path)
    found = resolve_florence2("package://students/first")
    assert found.folder == tmp_path / "students" / "first"
    assert found.digest == resolve_florence2(str(tiny_florence2(0))).digest


def test_a_model_of_the_hub_is_taken_from_the_cache_by_its_commit(
    tiny_florence2: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--a-student"
    shutil.copytree(tiny_florence2(0), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert resolve_florence2("someone/a-student").digest == commit
    assert resolve_florence2("someone/a-student", commit).digest == commit
    with pytest.raises(MissingModel, match="hf download someone/a-student --revision v2"):
        resolve_florence2("someone/a-student", "v2")
    (cached / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="hf download someone/a-student"):
        resolve_florence2("someone/a-student")


def test_a_missing_model_ends_with_the_command_that_fetches_it() -> None:
    with pytest.raises(MissingModel, match=r"hf download nobody/has-this$"):
        resolve_florence2("nobody/has-this")


@pytest.mark.parametrize(
    "model", ["/no/such/folder", "./nor/this/one", "package://florilegium/specialists/no"]
)
def test_a_missing_folder_is_an_error(model: str) -> None:
    with pytest.raises(ConfigError, match=r"no such folder|has no 'specialists/no'"):
        resolve_florence2(model)


def test_a_folder_has_no_revision(copy: Path) -> None:
    with pytest.raises(ConfigError, match="leave `revision` out"):
        resolve_florence2(str(copy), "main")


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        resolve_florence2(str(tmp_path))


def test_a_checkpoint_of_another_model_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "blip-2"}))
    with pytest.raises(ConfigError, match="of type 'blip-2'"):
        resolve_florence2(str(copy))


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_config_is_an_error(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"is damaged|of type None"):
        resolve_florence2(str(copy))


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="may run code when read"):
        resolve_florence2(str(copy))


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_weights_that_were_cut_off_are_found_without_loading_them(copy: Path, kept: int) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ConfigError, match="is damaged"):
        resolve_florence2(str(copy))


def spoil(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the weights of a checkpoint."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def in_parts(folder: Path) -> None:
    """Cut the weights of a checkpoint in two, as large ones are."""
    from safetensors.torch import load_file, save_file

    whole = folder / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    weight_map = {
        name: f"model-0000{1 + number % 2}-of-00002.safetensors"
        for number, name in enumerate(sorted(weights))
    }
    for part in set(weight_map.values()):
        held = {name: weights[name] for name in weights if weight_map[name] == part}
        save_file(held, folder / part, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_part_that_a_download_left_out_is_told_without_loading(copy: Path) -> None:
    in_parts(copy)
    specialist = Florence2(Florence2Config(model=str(copy), tasks=("caption",)))
    assert specialist.revision()
    load_florence2(resolve_florence2(str(copy)))
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model-00002-of-00002\.safetensors is not in"):
        specialist.revision()


def test_a_sound_checkpoint_loads_for_inference(copy: Path) -> None:
    model, processor = load_florence2(resolve_florence2(str(copy)))
    assert not model.training
    assert processor.post_processor_config


def test_missing_weights_are_no_guess(copy: Path) -> None:
    spoil(copy, lambda weights: weights.pop("model.multi_modal_projector.image_projection.weight"))
    with pytest.raises(ConfigError, match="1 weight is missing"):
        load_florence2(resolve_florence2(str(copy)))


def test_weights_of_another_size_are_an_error(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["decoder_ffn_dim"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=str(copy)):
        load_florence2(resolve_florence2(str(copy)))


def test_weights_of_a_training_that_diverged_are_refused(copy: Path) -> None:
    def diverge(weights: dict[str, Any]) -> None:
        weights["model.language_model.encoder.layers.0.fc1.weight"][0, 0] = float("nan")

    spoil(copy, diverge)
    with pytest.raises(ConfigError, match=r"fc1\.weight is not finite"):
        load_florence2(resolve_florence2(str(copy)))


def test_a_checkpoint_without_its_processor_is_an_error(copy: Path) -> None:
    (copy / "processor_config.json").unlink()
    with pytest.raises(ConfigError, match=str(copy)):
        load_florence2(resolve_florence2(str(copy)))


def test_a_tokenizer_without_location_tokens_is_an_error(copy: Path) -> None:
    tokenizer = copy / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<loc_7>", "<place_7>"))
    with pytest.raises(ConfigError, match=r"tokenizer lacks 1 of 1000 location tokens, <loc_7>"):
        load_florence2(resolve_florence2(str(copy)))
