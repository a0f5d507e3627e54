"""A checkpoint by its name: a folder, a folder within an installed package, or a hub id.

Only safetensors are read and no code that lies beside weights is run. Nothing is downloaded: a
model that is not here ends with the command that fetches it. Looking is cheap and imports no
torch; loading tells a foreign or damaged checkpoint from a sound one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.sources.url import package_folder
from specialists.florence2_format import LOCATION_TOKENS

MODEL_TYPE = "florence2"
NATIVE = "florence-community/Florence-2-base"
"""The released weights in the format of the native class."""
_PACKAGE = "package://"
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TELLING = (
    *("*.safetensors", "*.safetensors.index.json", "*config.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
)
"""The files that make a checkpoint what it is."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that is here: `digest` is a hub commit or the digest of the files."""

    model: str
    folder: Path
    digest: str

    @property
    def name(self) -> str:
        """The model as provenance names it: a hub id, a package URL, the name of a folder."""
        return model_name(self.model)


def model_name(model: str) -> str:
    """Return a model's name without the path that leads to it on this machine."""
    return model if model.startswith(_PACKAGE) or _is_hub_id(model) else Path(model).name


def resolve(model: str, revision: str = "") -> Checkpoint:
    """Find a checkpoint and check that it can be a Florence-2, without reading its weights.

    Raises:
        ConfigError: it is not here, it is pickled, damaged, or of another model.
    """
    if not model.strip():
        raise ConfigError(f"model is empty; give a folder or a hub id such as {NATIVE!r}")
    if model.startswith(_PACKAGE):
        folder, commit = Path(package_folder(model)), ""
    elif Path(model).expanduser().is_dir():
        folder, commit = Path(model).expanduser(), ""
    elif _is_hub_id(model):
        folder = _cached(model, revision)
        commit = folder.name
    else:
        raise ConfigError(f"model {model!r}: there is no such folder; check the path")
    if revision and not commit:
        raise ConfigError(
            f"revision {revision!r} is for a model of the hub, but {model!r} is a folder; "
            "leave `revision` out"
        )
    _check(model, folder)
    return Checkpoint(model=model, folder=folder, digest=commit or _digest(folder))


def load_florence2(
    checkpoint: Checkpoint, *, dtype: str = "float32", device: str = "cpu"
) -> tuple[Any, Any]:
    """Load (`Florence2ForConditionalGeneration` in eval mode, `Florence2Processor`).

    Raises:
        ConfigError: the weights do not fit the config, are damaged or not finite, or the
            processor is not that of a Florence-2.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging as transformers_logging

    classes: tuple[Any, Any] = (AutoModelForImageTextToText, AutoProcessor)
    model_class, processor_class = classes
    local = {"local_files_only": True, "trust_remote_code": False}
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        processor = processor_class.from_pretrained(checkpoint.folder, **local)
        model, report = model_class.from_pretrained(
            checkpoint.folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **local,
        )
    except Exception as error:  # the libraries raise whatever they meet
        raise ConfigError(
            f"model {checkpoint.model!r} cannot be loaded: {error}; save it again with "
            "save_pretrained, model and processor"
        ) from error
    _check_weights(checkpoint, model, report)
    _check_processor(checkpoint, processor)
    return model.to(device).eval(), processor


def _check_weights(checkpoint: Checkpoint, model: Any, report: dict[str, Any]) -> None:
    wrong = [*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])]
    if wrong:
        raise ConfigError(
            f"model {checkpoint.model!r}: {len(wrong)} weights are missing or of another shape "
            f"than its config says, {min(wrong)!r} for one; the native class reads {NATIVE!r}, "
            "not checkpoints that need remote code"
        )
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ConfigError(
            f"model {checkpoint.model!r}: {broken[0]} is not finite, as after a training that "
            "diverged; use an earlier checkpoint"
        )


def _check_processor(checkpoint: Checkpoint, processor: Any) -> None:
    if not hasattr(processor, "post_process_generation") or not processor.post_processor_config:
        raise ConfigError(
            f"model {checkpoint.model!r}: its processor is a {type(processor).__name__} without "
            f"the parser of Florence-2's answers; take the processor files of {NATIVE!r}"
        )
    entries = processor.tokenizer.get_vocab()
    missing = [token for token in LOCATION_TOKENS if token not in entries]
    if missing:
        raise ConfigError(
            f"model {checkpoint.model!r}: its tokenizer lacks {len(missing)} of "
            f"{len(LOCATION_TOKENS)} location tokens, {missing[0]} first; use the tokenizer that "
            "came with the weights"
        )


def _check(model: str, folder: Path) -> None:
    config_path = folder / "config.json"
    try:
        config = json.loads(config_path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"model {model!r}: no config.json in {folder}; {_cure(model, folder)}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"model {model!r}: {config_path} is damaged: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != MODEL_TYPE:
        raise ConfigError(
            f"model {model!r} is of type {kind!r}, not {MODEL_TYPE!r}; a Florence-2 is needed, "
            f"such as {NATIVE!r}"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and _files(folder, _PICKLES):
        raise ConfigError(
            f"model {model!r} has pickled weights only ({_files(folder, _PICKLES)[0].name}), which "
            f"may run code when read; convert them to safetensors, or use {NATIVE!r}"
        )
    if not weights:
        raise ConfigError(f"model {model!r}: no *.safetensors in {folder}; {_cure(model, folder)}")
    for path in weights:
        _check_safetensors(model, path)


def _check_safetensors(model: str, path: Path) -> None:
    """Read the header of a file, which tells whether the file is whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"model {model!r}: {path} is damaged: {error}; fetch or save it again"
        ) from error


def _is_hub_id(model: str) -> bool:
    return _HUB_ID.fullmatch(model) is not None and not Path(model).is_dir()


def _cached(model: str, revision: str) -> Path:
    """Return the folder of a hub model in the local cache; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise ConfigError(
            f"model {model!r} is no folder here and not in the local cache of the hub; "
            f"fetch it: {_fetch(model, revision)}"
        ) from None


def _cure(model: str, folder: Path) -> str:
    if _is_hub_id(model):
        return f"fetch it: {_fetch(model, folder.name)}"
    return "give the folder that save_pretrained wrote"


def _fetch(model: str, revision: str) -> str:
    return f"hf download {model}" + (f" --revision {revision}" if revision else "")


def _digest(folder: Path) -> str:
    """Return the digest of what a checkpoint is made of, 16 hex digits; README apart."""
    digest = sha256()
    for path in _files(folder, _TELLING):
        stat = path.stat()
        digest.update(
            f"{path.name}\0{_file_digest(path, stat.st_size, stat.st_mtime_ns)}\0".encode()
        )
    return digest.hexdigest()[:16]


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    """Return a file's sha256; asked again for the same file, it is not read again."""
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
