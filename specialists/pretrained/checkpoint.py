"""Finding a checkpoint by its name: a folder, a folder in an installed package, or a hub id.

Only safetensors are accepted, and no code of a checkpoint is run. Nothing is downloaded: the error
for a missing model has the command that downloads it. This is cheap and imports no torch.
`inspection` checks the files, `loading` loads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from florilegium.engine.core.errors import ConfigError, MissingModel, MissingPackage
from florilegium.engine.sources.url import package_folder
from florilegium.specialists.pretrained.inspection import inspect_files, parts_of, read_json
from florilegium.specialists.pretrained.sizes import WeightsSize, size_of_weights

_PACKAGE = "package://"
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer_config.json",)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DIGESTED_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "*config.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.spm"),
    *("*.jinja", "chat_template.json"),
)
"""The files in the digest of a checkpoint."""
_BY_SENTENCEPIECE = ("SiglipTokenizer", "MarianTokenizer", "M2M100Tokenizer")
"""Tokenizers that need sentencepiece."""
_BY_NUM2WORDS = ("smolvlm",)
"""Model types whose processor needs num2words, though only for videos."""

_BY_SCIPY = ("owlv2",)
"""Model types whose images are resized by scipy without torchvision."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """The checkpoints that a specialist can use, and the classes that load them.

    `title` names the kind in errors ("an object detector"), `example` is a hub id. `model_types`
    are those in config.json (empty: all that the model class supports), `needs_torchvision` those
    of them whose images need torchvision, `unused` prefixes of the names of weights that do not
    affect the output, so that a checkpoint may lack them.
    """

    title: str
    example: str
    model_class: str
    model_types: tuple[str, ...] = ()
    processor_class: str = "AutoProcessor"
    needs_torchvision: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def processor_files(self) -> tuple[str, ...]:
        """The files of which a checkpoint has one, for its processor."""
        return _TOKENIZERS if self.processor_class == "AutoTokenizer" else _PROCESSORS


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A local checkpoint; `commit` is that of the hub, "" for a folder.

    `size` is that of its weights; `None` for random weights, for which only config and processor
    are used.
    """

    model: str
    folder: Path
    commit: str
    family: Family
    model_type: str
    size: WeightsSize | None = None

    @cached_property
    def digest(self) -> str:
        """The commit, or the digest of the files, which reads them all: to plan a run needs it, to
        load the weights does not."""
        return self.commit or _digest(self.folder)

    @property
    def is_random(self) -> bool:
        """Whether random weights are used instead of its own."""
        return self.size is None

    @property
    def name(self) -> str:
        """The model's name in provenance: a hub id, a package URL, the name of a folder."""
        return model_name(self.model)

    @property
    def cure(self) -> str:
        """What to do if it cannot be used, for errors."""
        return _cure(self.model, self.folder)


def model_name(model: str) -> str:
    """Return a model's name without its path on this machine."""
    return model if model.startswith(_PACKAGE) or _is_hub_id(model) else Path(model).name


def resolve(
    model: str, family: Family, revision: str = "", *, is_random: bool = False
) -> Checkpoint:
    """Find a checkpoint and check that it belongs to a family, without reading its weights.

    Raises:
        MissingModel: it is not in the local cache of the hub; the error has the download command.
        ConfigError: there is no such folder, or it is pickled, damaged, of another family, or has
            forbidden files (`inspection`).
        MissingPackage: it needs a package that is not installed: torchvision, timm, sentencepiece.
    """
    if not model.strip():
        raise ConfigError(f"model is empty; give a folder or a hub id such as {family.example!r}")
    if model.startswith(_PACKAGE):
        folder, commit = Path(package_folder(model)), ""
    elif Path(model).expanduser().is_dir():
        folder, commit = Path(model).expanduser(), ""
    elif _is_hub_id(model):
        folder = _cached(model, revision, family)
        commit = folder.name
    else:
        raise ConfigError(f"model {model!r}: there is no such folder; check the path")
    if revision and not commit:
        raise ConfigError(
            f"revision {revision!r} is for a model of the hub, but {model!r} is a folder; "
            "leave `revision` out"
        )
    inspect_files(model, folder)
    model_type = _model_type(model, folder, family)
    _check_tokenizer(model, folder)
    size = None if is_random else _weights(model, folder, family)
    if not _files(folder, wanted := family.processor_files):
        missing = f"neither of {' and '.join(wanted)}" if len(wanted) > 1 else f"no {wanted[0]}"
        raise ConfigError(f"model {model!r}: {missing} is in {folder}; {_cure(model, folder)}")
    return Checkpoint(
        model=model,
        folder=folder,
        commit=commit,
        family=family,
        model_type=model_type,
        size=size,
    )


def _model_type(model: str, folder: Path, family: Family) -> str:
    """Return the model type of a config, if it belongs to the family."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {model!r}: no config.json in {folder}; {_cure(model, folder)}")
    config = read_json(model, folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or (family.model_types and kind not in family.model_types):
        allowed = f" (model types {', '.join(family.model_types)})" if family.model_types else ""
        raise ConfigError(
            f"model {model!r} is of type {kind!r}; {family.title} is needed{allowed}, such as "
            f"{family.example!r}"
        )
    if kind in family.needs_torchvision and find_spec("torchvision") is None:
        raise MissingPackage(
            f"model {model!r}: the processor of {kind} needs torchvision: "
            "pip install 'florilegium[torchvision]'",
            install="florilegium[torchvision]",
        )
    if kind in _BY_NUM2WORDS and find_spec("num2words") is None:
        raise MissingPackage(
            f"model {model!r}: the processor of {kind} needs num2words: pip install num2words",
            install="num2words",
        )
    if kind in _BY_SCIPY and not (find_spec("torchvision") or find_spec("scipy")):
        raise MissingPackage(
            f"model {model!r}: the processor of {kind} needs scipy: pip install scipy",
            install="scipy",
        )
    if _has_timm_backbone(config) and find_spec("timm") is None:
        raise MissingPackage(
            f"model {model!r} has a timm backbone: pip install timm, or choose a revision "
            "without it, such as no_timm of facebook/detr-resnet-50",
            install="timm",
        )
    return kind


def _has_timm_backbone(config: dict[str, object]) -> bool:
    backbone = config.get("backbone_config")
    kind = backbone.get("model_type") if isinstance(backbone, dict) else None
    return bool(config.get("use_timm_backbone")) or kind == "timm_backbone"


def _check_tokenizer(model: str, folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return
    config = read_json(model, path)
    kind = config.get("tokenizer_class") if isinstance(config, dict) else None
    if kind in _BY_SENTENCEPIECE and find_spec("sentencepiece") is None:
        raise MissingPackage(
            f"model {model!r}: its tokenizer needs sentencepiece: pip install sentencepiece",
            install="sentencepiece",
        )


def _weights(model: str, folder: Path, family: Family) -> WeightsSize:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and _files(folder, _PICKLES):
        raise ConfigError(
            f"model {model!r} has pickled weights only ({_files(folder, _PICKLES)[0].name}), which "
            f"may run code when read; convert them to safetensors, or use {family.example!r}"
        )
    if not weights:
        raise ConfigError(f"model {model!r}: no *.safetensors in {folder}; {_cure(model, folder)}")
    # An interrupted download leaves files out.
    if missing := [path for path in parts_of(model, folder) if not path.is_file()]:
        raise ConfigError(
            f"model {model!r}: {missing[0].name} is not in {folder}; {_cure(model, folder)}"
        )
    return size_of_weights(model, weights)


def _is_hub_id(model: str) -> bool:
    return _HUB_ID.fullmatch(model) is not None and not Path(model).is_dir()


def _cached(model: str, revision: str, family: Family) -> Path:
    """Return the folder of a hub model in the local cache; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise MissingModel(
            f"model {model!r} is no folder, and not in the local cache of the hub; download it "
            "(a gated one after `hf auth login`):",
            _fetch(model, revision),
            packages=_needed_by_all(family),
        ) from None


def _needed_by_all(family: Family) -> list[MissingPackage]:
    """Return the missing packages that every checkpoint of a family needs."""
    if not family.model_types or set(family.model_types) - set(family.needs_torchvision):
        return []
    if find_spec("torchvision"):
        return []
    return [
        MissingPackage(
            f"the processor of {family.title} needs torchvision: "
            "pip install 'florilegium[torchvision]'",
            install="florilegium[torchvision]",
        )
    ]


def _cure(model: str, folder: Path) -> str:
    if _is_hub_id(model):
        return f"download it: {_fetch(model, folder.name)}"
    return "give a folder that save_pretrained wrote, of the model and of its processor"


def _fetch(model: str, revision: str) -> str:
    return f"hf download {model}" + (f" --revision {revision}" if revision else "")


def _digest(folder: Path) -> str:
    """Return the digest of `_DIGESTED_FILES`, 16 hex digits."""
    digest = sha256()
    for path in _files(folder, _DIGESTED_FILES):
        stat = path.stat()
        digest.update(
            f"{path.name}\0{_file_digest(path, stat.st_size, stat.st_mtime_ns)}\0".encode()
        )
    return digest.hexdigest()[:16]


@cache
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    """Return a file's SHA-256, cached by size and modification time."""
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
