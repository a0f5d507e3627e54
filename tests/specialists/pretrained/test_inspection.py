"""Folders of strangers: nothing in them is opened that could run, reach out or fill the memory."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.worker_log import WorkerLog
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.pretrained import inspection
from florilegium.specialists.pretrained.inspection import INDEX, MAX_CONFIG_BYTES, MAX_JSON_DEPTH

pytestmark = pytest.mark.attack("models")

Tiny = Callable[[int], Path]
Spoil = Callable[[Path], object]


@pytest.fixture
def copy(tiny_florence2: Tiny, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_florence2(0), tmp_path / "stranger"))


def refusal(folder: Path) -> str:
    """Return why a folder is refused, one sentence that names it."""
    with pytest.raises(ConfigError) as caught:
        resolve_florence2(str(folder))
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 700
    return message


def put(name: str, *path: str | int, value: Any) -> Spoil:
    """Set a value deep in a JSON file, which is written where it is not there."""

    def spoil(folder: Path) -> None:
        file = folder / name
        document = json.loads(file.read_text()) if file.exists() else {}
        place = document
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(document))

    return spoil


CODE = {"AutoConfig": "configuration_x.X", "AutoModel": "modeling_x.X", "AutoProcessor": "p.P"}
CONFIGS: dict[str, tuple[Spoil, str]] = {
    "code of a model": (put("config.json", "auto_map", value=CODE), "`auto_map` in config.json"),
    "code of a part": (
        put("config.json", "vision_config", "auto_map", value=CODE), "`auto_map` in config.json"
    ),
    "code elsewhere on the hub": (
        put("config.json", "auto_map", value={"AutoModel": "evil/code--modeling_x.X"}),
        "`auto_map` in config.json names code",
    ),
    "code of a tokenizer": (
        put("tokenizer_config.json", "auto_map", value={"AutoTokenizer": ["t.T", None]}),
        "`auto_map` in tokenizer_config.json",
    ),
    "code of a processor": (
        put("processor_config.json", "auto_map", value=CODE), "`auto_map` in processor_config.json"
    ),
    "code of an image processor": (
        put("processor_config.json", "image_processor", "auto_map", value=CODE),
        "`auto_map` in processor_config.json",
    ),
    "code of a preprocessor": (
        put("preprocessor_config.json", "auto_map", value=CODE),
        "`auto_map` in preprocessor_config.json",
    ),
    "code of videos": (
        put("video_preprocessor_config.json", "auto_map", value=CODE), "`auto_map` in video_"
    ),
    "code of generation": (put("generation_config.json", "auto_map", value=CODE), "`auto_map` in"),
    "code of pipelines": (
        put("config.json", "custom_pipelines", value={"x": {"impl": "x.X"}}), "`custom_pipelines`"
    ),
    "compiled attention": (
        put("config.json", "attn_implementation", value="evil/kernels"),
        "`attn_implementation` in config.json is 'evil/kernels', compiled code",
    ),
    "compiled attention of a part": (
        put("config.json", "text_config", "_attn_implementation", value="evil/k@v1:f"), "compiled"
    ),
    "compiled experts": (
        put("config.json", "experts_implementation", value="evil/kernels"), "compiled code"
    ),
    "packed weights": (
        put("config.json", "quantization_config", value={"quant_method": "mxfp4"}),
        "`quantization_config` in config.json asks for kernels",
    ),
    "weights elsewhere": (
        put("config.json", "transformers_weights", value="../other/model.safetensors"),
        "`transformers_weights` in config.json names other weights",
    ),
    "another model": (
        put("processor_config.json", "audio_tokenizer", value={"audio_tokenizer_class": "X"}),
        "`audio_tokenizer` in processor_config.json names another model",
    ),
    "a file elsewhere": (
        put("tokenizer_config.json", "vocab_file", value="/etc/passwd"),
        "`vocab_file` in tokenizer_config.json is '/etc/passwd'",
    ),
    "a file above": (
        put("tokenizer_config.json", "merges_file", value="a/../../../x"), "`merges_file`"
    ),
    "files elsewhere": (
        put("tokenizer_config.json", "fast_tokenizer_files", value=["../tokenizer.4.json"]),
        "`fast_tokenizer_files`",
    ),
    "a file of another model": (
        put("processor_config.json", "image_processor", "repo_path", value="evil/repository"),
        "`repo_path` in processor_config.json names another model",
    ),
    "a folder elsewhere": (
        put("processor_config.json", "speaker_embeddings_dict_path", value="/etc/x.json"),
        "`speaker_embeddings_dict_path`",
    ),
    "a file on the network": (
        put("processor_config.json", "image_processor", "class_info_file", value="https://h/x"),
        "`class_info_file` in processor_config.json is 'https://h/x'",
    ),
    "code of a second tokenizer": (
        put("qformer_tokenizer/tokenizer_config.json", "auto_map", value=CODE),
        "`auto_map` in tokenizer_config.json",
    ),
    "a vocabulary of a trillion": (
        put("config.json", "text_config", "vocab_size", value=10**12), "`vocab_size` in config.json"
    ),
    "a width that is a float": (
        put("config.json", "text_config", "d_model_dim", value=1e12),
        "is 1e+12, more than the limit of 1048576",
    ),
    "a billion layers": (
        put("config.json", "text_config", "encoder_layers", value=10**9), "`encoder_layers`"
    ),
    "a billion blocks": (
        put("config.json", "vision_config", "depths", value=[1, 10**9]), "`depths` in config.json"
    ),
    "a billion labels": (put("config.json", "num_labels", value=10**9), "`num_labels`"),
    "a trillion positions": (
        put("config.json", "text_config", "max_position_embeddings", value=10**12),
        "`max_position_embeddings`",
    ),
    "a huge image": (
        put("processor_config.json", "image_processor", "size",
            value={"height": 10**6, "width": 10**6}),
        "`size` in processor_config.json asks for images of more than 16384 px a side",
    ),
    "a huge crop": (
        put("processor_config.json", "image_processor", "crop_size",
            value={"height": 24, "width": 10**6}),
        "`crop_size`",
    ),
    "a huge edge": (
        put("preprocessor_config.json", "size", value={"shortest_edge": 10**12}), "`size` in prepr"
    ),
    "a huge size": (put("preprocessor_config.json", "size", value=50_000), "`size` in prepr"),
    "a huge divisor": (put("preprocessor_config.json", "size_divisor", value=10**9), "`size_div"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_names_code_files_or_sizes_beyond_all_is_refused(
    copy: Path, name: str
) -> None:
    spoil, message = CONFIGS[name]
    spoil(copy)
    assert message in refusal(copy)


@pytest.mark.parametrize(
    "spoil",
    [
        put("tokenizer_config.json", "special_tokens_map_file", value="/root/.cache/x.json"),
        put("tokenizer_config.json", "vocab_file", value=None),
        put("tokenizer_config.json", "vocab_file", value="vocab.json"),
        put("tokenizer_config.json", "model_max_length", value=10**30),
        put("config.json", "attn_implementation", value="sdpa"),
        put("config.json", "auto_map", value=None),
        put("config.json", "text_config", "rope_theta", value=10**7),
        put("config.json", "_name_or_path", value="/home/someone/model"),
        put("preprocessor_config.json", "size",
            value={"shortest_edge": 3136, "longest_edge": 12845056}),
        put("preprocessor_config.json", "max_pixels", value=12845056),
    ],
)  # fmt: skip
def test_what_published_checkpoints_have_is_not_refused(copy: Path, spoil: Spoil) -> None:
    spoil(copy)
    assert resolve_florence2(str(copy)).size


def test_pickles_beside_safetensors_are_neither_read_nor_needed(copy: Path) -> None:
    from florilegium.specialists.florence2.checkpoint import load_florence2

    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "state.npy", "x.pkl"):
        (copy / name).write_bytes(bomb(copy.parent / "exploded"))
    (copy / "modeling_x.py").write_text("raise SystemExit('code of the model was run')")
    (copy / "custom_generate").mkdir()
    (copy / "custom_generate" / "generate.py").write_text("raise SystemExit('code was run')")
    model, _ = load_florence2(resolve_florence2(str(copy)))
    assert not model.training
    assert not (copy.parent / "exploded").exists()


def test_loading_asks_no_network(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    from florilegium.specialists.florence2.checkpoint import load_florence2

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model, _ = load_florence2(resolve_florence2(str(copy)))
    assert not model.training
    assert load_florence2(resolve_florence2(str(copy), is_random=True))


def test_what_the_library_of_models_warns_of_reaches_the_log_of_a_worker(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from florilegium.specialists.florence2.checkpoint import load_florence2

    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", False)
    logging.getLogger().addHandler(log := WorkerLog())
    try:
        load_florence2(resolve_florence2(str(copy), is_random=True))
        logging.getLogger("transformers.models").warning("some weights are new")
    finally:
        logging.getLogger().removeHandler(log)
    assert "some weights are new" in [entry.message for entry in log.take()]


def test_a_class_that_loads_another_model_by_itself_asks_no_network_either(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the processor of MGP-STR does, which a config may name: it passes no options on."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    from florilegium.specialists.pretrained import loading

    class Processor:
        @staticmethod
        def from_pretrained(*_: object, **__: object) -> None:
            HfApi(endpoint="http://127.0.0.1:9").model_info("someone/else")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(loading, "_class", lambda _: Processor)
    with pytest.raises(OfflineModeIsEnabled):
        loading.load_part(resolve_florence2(str(copy)), "AutoProcessor")
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["additional_chat_templates/x.jinja", "a/tokenizer_config.json"])
def test_a_text_below_a_model_is_bounded_too(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir()
    with (copy / name).open("wb") as file:
        file.truncate(MAX_CONFIG_BYTES + 1)
    assert f"at most {MAX_CONFIG_BYTES} are read" in refusal(copy)


def bomb(mark: Path) -> bytes:
    """Return a pickle that makes a file when it is read."""
    import pickle

    class Exploding:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    return pickle.dumps(Exploding())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickled_weights_alone_are_refused(copy: Path, name: str) -> None:
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(bomb(copy.parent / "exploded"))
    with pytest.raises(ConfigError, match=f"pickled weights only \\({name}\\)"):
        resolve_florence2(str(copy))
    assert not (copy.parent / "exploded").exists()


@pytest.mark.parametrize("is_pickle", [True, False])
def test_a_pickle_that_is_called_safetensors_is_refused(copy: Path, is_pickle: bool) -> None:
    data = bomb(copy.parent / "exploded") if is_pickle else b"PK\3\4" + bytes(100)
    (copy / "model.safetensors").write_bytes(data)
    assert "model.safetensors is damaged" in refusal(copy)
    assert not (copy.parent / "exploded").exists()


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin",
             "shard-00000-model-00000-of-00002.safetensors"],
)  # fmt: skip
def test_files_that_send_the_loader_elsewhere_are_refused(copy: Path, name: str) -> None:
    (copy / name).write_text(json.dumps({"base_model_name_or_path": "evil/base"}))
    with pytest.raises(ConfigError, match=f"{name} is (of|parts)"):
        resolve_florence2(str(copy))


@pytest.mark.parametrize(
    "part",
    ["../elsewhere.safetensors", "/tmp/elsewhere.safetensors", "sub/part.safetensors",
     "part.bin", "pytorch_model.bin", "..", "", "a\\b.safetensors"],
)  # fmt: skip
def test_an_index_names_only_safetensors_beside_it(copy: Path, part: str) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": part}}
    (copy / INDEX).write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"as a file of weights: only \*\.safetensors"):
        resolve_florence2(str(copy))


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', "{", '{"weight_map": {}}'])
def test_an_index_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00001.safetensors")
    (copy / INDEX).write_text(text)
    assert f"{INDEX} is damaged" in refusal(copy)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja",
             "templates/chat.jinja", "README.md"],
)  # fmt: skip
def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(secret)
    assert f"{name} is a link to {secret}, out of the model's folder" in refusal(copy)
    (copy / name).unlink()
    (copy / name).symlink_to(os.path.relpath(secret, (copy / name).parent))
    assert "out of the model's folder" in refusal(copy)


def test_a_folder_that_is_linked_out_of_the_folder_is_refused(copy: Path) -> None:
    (copy / "all").symlink_to("/")
    assert "is a link to /, out of the model's folder" in refusal(copy)


def test_a_link_to_itself_or_to_nothing_is_refused(copy: Path) -> None:
    (copy / "vocab.json").symlink_to("vocab.json")
    with pytest.raises(ConfigError):
        resolve_florence2(str(copy))


def test_links_within_the_folder_and_a_link_to_it_are_fine(copy: Path, tmp_path: Path) -> None:
    (copy / "config.json").rename(copy / "config")
    (copy / "config.json").symlink_to("config")
    (tmp_path / "link").symlink_to(copy)
    assert resolve_florence2(str(tmp_path / "link")).digest == resolve_florence2(str(copy)).digest


def cached(copy: Path, tmp_path: Path) -> Path:
    """Lay a checkpoint out as the cache of the hub does; return the folder of its commit."""
    commit = tmp_path / "models--someone--a-student" / "snapshots" / ("0" * 40)
    blobs = commit.parent.parent / "blobs"
    commit.mkdir(parents=True)
    blobs.mkdir()
    for path in copy.iterdir():
        shutil.copy(path, blobs / f"of-{path.name}")
        (commit / path.name).symlink_to(f"../../blobs/of-{path.name}")
    return commit


def test_links_of_the_cache_of_the_hub_are_fine_and_others_in_it_are_not(
    copy: Path, tmp_path: Path
) -> None:
    commit = cached(copy, tmp_path)
    assert resolve_florence2(str(commit)).digest == resolve_florence2(str(copy)).digest
    other = tmp_path / "models--someone--else"
    other.mkdir()
    (other / "config.json").write_bytes((copy / "config.json").read_bytes())
    (commit / "config.json").unlink()
    (commit / "config.json").symlink_to("../../../models--someone--else/config.json")
    assert "out of the model's folder" in refusal(commit)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "pipe"])
def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(copy: Path, name: str) -> None:
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    assert f"{name} is no regular file" in refusal(copy)


@pytest.mark.parametrize(
    "name",
    ["config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja",
     "chat_template.json", "processor_config.json"],
)  # fmt: skip
def test_a_text_that_is_too_large_is_refused_unread(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.truncate(MAX_CONFIG_BYTES + 1)
    assert f"{name} has {MAX_CONFIG_BYTES + 1} bytes, at most {MAX_CONFIG_BYTES}" in refusal(copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "spiece.model", "merges.txt"])
def test_a_vocabulary_of_gigabytes_is_refused_unread(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.truncate(5 << 30)
    assert f"{name} has {5 << 30} bytes, at most 268435456" in refusal(copy)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_json_that_is_nested_too_deep_is_refused(
    copy: Path, name: str, depth: int, brackets: str
) -> None:
    opening = brackets[0] if brackets == "[]" else '{"a":'
    inner = "1" if brackets == "{}" else ""
    text = opening * depth + inner + brackets[1] * depth
    (copy / name).write_text(f'{{"deep": {text}}}')
    assert f"{name} is damaged: it has more than {MAX_JSON_DEPTH} nested lists" in refusal(copy)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe{}", b"", b"\0" * 9, b'{"a": 1e'])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "processor_config.json"])
def test_a_config_that_is_no_json_is_refused(copy: Path, name: str, text: bytes) -> None:
    (copy / name).write_bytes(text)
    assert f"{name} is damaged" in refusal(copy)


def test_a_folder_of_very_many_files_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_FILES", 3)
    assert "has more than 3 files" in refusal(copy)
