"""Checking the files of an untrusted checkpoint before any library opens them.

Weights must be safetensors, everything else text of limited size. References to code, other models
or files elsewhere are refused, and so are sizes that would fill the memory. Imports neither torch
nor `transformers`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.untrusted.bounded_json import TooDeep, parsed
from florilegium.specialists.pretrained.sizes import problem_of_sizes

MAX_CONFIG_BYTES = 16 << 20
"""Maximum bytes of a config, a template or another text file."""
MAX_TOKENIZER_BYTES = 256 << 20
"""Maximum bytes of a vocabulary; the largest known ones have 35 MB."""
MAX_JSON_DEPTH = 64
"""Maximum nesting of lists and objects in a config."""
MAX_FILES = 10_000
"""Maximum files of a checkpoint."""
INDEX = "model.safetensors.index.json"

_TEXTS = ("*.json", "*.jinja", "*.txt")
_VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json"),
    *("*.model", "*.spm", "target_vocab.json", INDEX),
)
_SIZED = ("config.json", "preprocessor_config.json", "processor_config.json")
"""The files whose numbers determine the sizes of networks and images."""
_READ_BELOW = ("tokenizer_config.json", "special_tokens_map.json")
"""Files that are also read in a subfolder: that of a processor's second tokenizer."""
_OTHER_LOADERS = {
    "adapter_config.json": "an adapter, which names another model to load; merge it into its base",
    "adapter_model.*": "an adapter, whose base is another model; merge it into its base",
    "shard-*-model-*.safetensors": "parts of a distributed training; save it as one model",
}
_FORBIDDEN = {
    "auto_map": "names code of the model to run",
    "custom_pipelines": "names code of the model to run",
    "audio_tokenizer": "names another model to load",
    "repo_path": "names another model to read from",
    "transformers_weights": "names other weights to load",
    "quantization_config": "asks for kernels that unpack its weights",
    "fusion_config": "changes the code of the model",
    "kernel_config": "names compiled code to load",
}
_IMPLEMENTATIONS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_FILE_NAMES = re.compile(
    r"(?!special_tokens_map_file$|\w*name_or_path$)\w*(?:files?|paths?|dirs?|folders?|repo|repo_id)"
)
"""Fields that name a file or a folder; what was saved from where (`_name_or_path`) opens none."""


def inspect_files(model: str, folder: Path) -> None:
    """Refuse a folder with anything that a library must not open.

    Raises:
        ConfigError: a link leads out of the folder, an entry is no regular file or too large, a
            config is damaged, or refers to code, another model or a file elsewhere.
    """
    for path in _entries(model, folder):
        _refuse_other_loaders(model, path)
        if path.suffix != ".safetensors":
            _refuse_large(model, path)
        is_read = path.parent == folder or path.name in _READ_BELOW
        if is_read and path.suffix == ".json" and not _is_vocabulary(path):
            _inspect_config(model, path)


def read_json(model: str, path: Path) -> Any:
    """Parse a JSON file of a checkpoint.

    Raises:
        ConfigError: it is no JSON, or nested too deeply.
    """
    try:
        return parsed(path.read_bytes(), max_depth=MAX_JSON_DEPTH)
    except TooDeep:
        raise ConfigError(
            f"model {model!r}: {path} is damaged: it has more than {MAX_JSON_DEPTH} nested "
            "lists and objects"
        ) from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"model {model!r}: {path} is damaged: {error}") from error


def parts_of(model: str, folder: Path) -> list[Path]:
    """Return the files of the weights by the index; none without an index.

    Raises:
        ConfigError: the index is damaged, or names a file elsewhere or of another kind.
    """
    path = folder / INDEX
    if (folder / "model.safetensors").is_file() or not path.is_file():
        return []
    index = read_json(model, path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"model {model!r}: {path} is damaged: it has no `weight_map`")
    names = set(map(str, weight_map.values()))
    for name in sorted(names):
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ConfigError(
                f"model {model!r}: {path.name} names {name!r} as a file of weights: only "
                f"*.safetensors beside it are read"
            )
    return [folder / name for name in sorted(names)]


def _entries(model: str, folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, after checking that they lie in it.

    The cache of the hub links from `snapshots/COMMIT` to `blobs`: this counts as one folder.
    """
    root = folder.resolve()
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        root = folder.parent.parent.resolve()
    count = 0
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            target = Path(os.path.realpath(path))
            if path.is_symlink() and not target.is_relative_to(root):
                raise ConfigError(
                    f"model {model!r}: {path} is a link to {target}, out of the model's folder: "
                    "copy the file into it"
                )
            count += 1
            if count > MAX_FILES:
                raise ConfigError(f"model {model!r}: {folder} has more than {MAX_FILES} files")
            if name in files:
                if not path.is_file():  # such as a pipe, or a circular link
                    raise ConfigError(f"model {model!r}: {path} is no regular file")
                yield path


def _refuse_other_loaders(model: str, path: Path) -> None:
    for pattern, meaning in _OTHER_LOADERS.items():
        if fnmatch(path.name, pattern):
            raise ConfigError(f"model {model!r}: {path.name} is of {meaning}")


def _is_vocabulary(path: Path) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in _VOCABULARIES)


def _refuse_large(model: str, path: Path) -> None:
    if not _is_vocabulary(path) and not any(fnmatch(path.name, one) for one in _TEXTS):
        return  # nothing opens it
    most = MAX_TOKENIZER_BYTES if _is_vocabulary(path) else MAX_CONFIG_BYTES
    size = path.stat().st_size
    if size > most:
        raise ConfigError(
            f"model {model!r}: {path} has {size} bytes, at most {most} are read of such a file"
        )


def _inspect_config(model: str, path: Path) -> None:
    document = read_json(model, path)
    for name, value in _fields_of(document):
        problem = _problem_of_field(name, value)
        if not problem and path.name in _SIZED:
            problem = problem_of_sizes(name, value)
        if problem:
            raise ConfigError(f"model {model!r}: `{name}` in {path.name} {problem}")


def _problem_of_field(name: str, value: Any) -> str:
    """Return why a field must not be passed to a library; "" if it may."""
    if value is None:
        return ""
    if meaning := _FORBIDDEN.get(name):
        return f"{meaning}, and no code of a model is run: use a checkpoint without it"
    names = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    if _IMPLEMENTATIONS.fullmatch(name) and any(re.search(r"[/:|]", one) for one in names):
        return f"is {names[0]!r}, compiled code to load: choose `attention` in the stage's options"
    if _FILE_NAMES.fullmatch(name) and any(_leaves(one) for one in names):
        return f"is {names[0]!r}: only files beside it are read"
    return ""


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "://" in name


def _fields_of(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of every field, at any depth."""
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
