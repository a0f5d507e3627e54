"""Models come in through one door: nothing else in the source loads weights or reads pickles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from florilegium import engine, pipelines, specialists

pytestmark = pytest.mark.attack("models")

LOADERS = {
    *("from_pretrained", "from_config", "load_state_dict_from_url", "load_adapter"),
    *("snapshot_download", "hf_hub_download", "cached_file", "InferenceSession"),
    *("safe_open", "load_file", "load_model", "get_class_from_dynamic_module"),
}
"""Names of what opens models, whoever has them."""
QUALIFIED = {
    *("torch.load", "torch.hub", "torch.jit", "np.load", "numpy.load", "spacy.load"),
    "transformers.pipeline",
}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that run what they read."""
DOOR = "specialists/pretrained/loading.py"
ALLOWED = {
    (DOOR, "from_pretrained"),  # a part of a checkpoint, and the model
    (DOOR, "from_config"),  # random weights
    (DOOR, "safe_open"),
    (DOOR, "torch.load"),  # tensors of an installed package, by `weights_only`
    ("specialists/pretrained/sizes.py", "safe_open"),  # the header alone
    ("specialists/pretrained/checkpoint.py", "snapshot_download"),  # from the cache alone
    ("specialists/words/english.py", "spacy.load"),  # an installed package, by its name
    ("specialists/words/parsers.py", "spacy.load"),  # the same for other languages
    ("pipelines/sequences/patches.py", "np.load"),  # a file of this package, without pickles
    ("engine/execution/child.py", "pickle"),  # between a command and the process that it started
    ("engine/execution/ray_runner.py", "pickle"),  # answers, between a command and its workers
    ("engine/execution/reply.py", "pickle"),  # whether an error can be sent to another process
    ("engine/execution/local_runner.py", "pickle"),  # its error, when a stage cannot be sent
    ("engine/execution/packed_work.py", "pickle"),  # a shard's work, on the way to its workers
    ("engine/execution/runner_choice.py", "pickle"),  # whether stages can be sent; nothing is read
    ("engine/core/sample.py", "pickle"),  # the class of a buffer: bytes are sent without a copy
    ("specialists/pretrained/feeders.py", "pickle"),  # whether a function can be sent to one
    ("specialists/pretrained/handover.py", "pickle"),  # between a worker and feeders it started
    ("pipelines/shape_world/pretrain/architecture.py", "from_config"),  # a student is born
}


@cache
def sources() -> dict[str, str]:
    texts = {}
    for package in (engine, specialists, pipelines):
        (folder,) = package.__path__
        for path in sorted(Path(folder).rglob("*.py")):
            texts[str(path.relative_to(Path(folder).parent))] = path.read_text("utf-8")
    return texts


def suspects() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules with a word in them that may load a model."""
    words = {one.rpartition(".")[2] for one in (*LOADERS, *QUALIFIED, *PICKLES)}
    word = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")
    yield from ((name, ast.parse(text)) for name, text in sources().items() if word.search(text))


def loads(tree: ast.AST) -> Iterator[str]:
    """Yield what a module has that loads models: names, attributes, modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in LOADERS:
                yield node.attr
            elif isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}" in QUALIFIED:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in LOADERS:
            yield node.id
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] in PICKLES:
                yield module
            yield from (one.name for one in node.names if one.name in LOADERS)
            yield from (f"{module}.{one.name}" for one in node.names
                        if f"{module}.{one.name}" in QUALIFIED)  # fmt: skip


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_only_the_door_loads_models() -> None:
    found = {(name, load) for name, tree in suspects() for load in loads(tree)}
    assert found <= ALLOWED, f"not through the door: {sorted(found - ALLOWED)}"
    assert (DOOR, "from_pretrained") in found


def test_the_search_for_other_doors_finds_them() -> None:
    text = """
import pickle, joblib.x
from dill import loads
from torch import load, hub
from transformers import pipeline
AutoModel.from_pretrained("x"); torch.load("x"); np.load("x"); spacy.load("x")
onnxruntime.InferenceSession("x"); snapshot_download("x")
"""
    assert set(loads(ast.parse(text))) == {
        *("pickle", "joblib.x", "dill", "torch.load", "torch.hub", "transformers.pipeline"),
        *("from_pretrained", "np.load", "spacy.load", "InferenceSession", "snapshot_download"),
    }


def test_the_door_runs_no_code_of_a_model_and_fetches_nothing() -> None:
    tree = ast.parse(sources()[DOOR])
    locked = next(
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LOCKED"
    )  # fmt: skip
    assert ast.literal_eval(locked) == {"local_files_only": True, "trust_remote_code": False}
    opening = [one for one in calls(tree) if ast.unparse(one.func).endswith(".from_pretrained")]
    assert len(opening) == 2
    for call in opening:
        assert "_LOCKED" in [ast.unparse(one.value) for one in call.keywords if one.arg is None]
    text = ast.unparse(tree)
    assert "use_safetensors=True" in text
    assert "torch.load(path, map_location='cpu', weights_only=True)" in text
    assert not any(re.search(r"trust_remote_code\s*=\s*True", one) for one in sources().values())


def test_the_cache_of_the_hub_is_read_and_not_filled() -> None:
    tree = ast.parse(sources()["specialists/pretrained/checkpoint.py"])
    (call,) = [one for one in calls(tree) if ast.unparse(one.func) == "snapshot_download"]
    assert "local_files_only=True" in ast.unparse(call)


def test_no_weights_of_the_packages_that_are_installed_are_pickles_of_objects(
    tmp_path: Path,
) -> None:
    """What torch stored is read as tensors: anything else in it is refused, unrun."""
    import torch

    from florilegium.specialists.pretrained.loading import packaged_weights
    from tests.specialists.pretrained.test_inspection import bomb

    torch.save({"a": torch.ones(2)}, tmp_path / "tensors.pt")
    assert packaged_weights(tmp_path / "tensors.pt")["a"].tolist() == [1, 1]
    (tmp_path / "bomb.pt").write_bytes(bomb(tmp_path / "exploded"))
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        packaged_weights(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


def test_the_english_pipeline_reads_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    from florilegium.specialists.words.english import load_english

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert load_english.__wrapped__()("A cat sleeps.")[1].lemma_ == "cat"
