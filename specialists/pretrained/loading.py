"""The only module that loads weights, processors and configs of models.

No code of a model is run (`trust_remote_code=False`), nothing is downloaded, and only safetensors
are read; from installed packages, whose code runs anyway, also torch files. `checkpoint` finds
checkpoints, `network` runs loaded models.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.pretrained.checkpoint import Checkpoint
from florilegium.specialists.pretrained.sizes import no_larger_than

_LOCKED = {"local_files_only": True, "trust_remote_code": False}
_SEED = 0
"""Seed of random weights, for reproducible measurements."""
_LOADING = threading.RLock()


def load_pretrained(
    checkpoint: Checkpoint, *, dtype: str = "float32", device: str = "cpu", attention: str = "auto"
) -> tuple[Any, Any]:
    """Load (model in eval mode on its device, processor).

    Raises:
        ConfigError: the weights do not match the config, are damaged or not finite, or there is no
            processor.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()  # its warnings go to the log of the run
    try:
        with _offline():
            processor = load_part(checkpoint, checkpoint.family.processor_class)
            load = _random if checkpoint.is_random else _trained
            model = load(checkpoint, dtype=dtype, device=device, attention=attention)
    except ConfigError:
        raise
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"model {checkpoint.model!r} does not fit on {device}: {error}; give its workers a "
            "larger `num_gpus`, or take a smaller model"
        ) from error
    except Exception as error:  # the libraries raise any exception
        needs_flash = attention == "flash_attention_2" and "flash" in str(error).lower()
        cure = "install flash-attn, or leave `attention` out" if needs_flash else checkpoint.cure
        raise ConfigError(
            f"model {checkpoint.model!r} cannot be loaded: {error}; {cure}"
        ) from error
    return model.eval(), processor


def load_part(checkpoint: Checkpoint, class_name: str) -> Any:
    """Load a part of a checkpoint: `AutoProcessor`, `AutoConfig` and the like.

    Raises:
        Exception: any error of the libraries.
    """
    with _offline():
        return _class(class_name).from_pretrained(checkpoint.folder, **_LOCKED)


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the model hub out: some classes of `transformers`, which a config may choose, load other
    models when they are made, and pass none of our options on."""
    from huggingface_hub import constants

    with _LOADING:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def scalar_weight(checkpoint: Checkpoint, name: str) -> float | None:
    """Return a weight that is a single number, as stored; `None` if it does not exist."""
    from safetensors import safe_open

    for path in () if checkpoint.is_random else sorted(checkpoint.folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            if name in weights.keys():  # noqa: SIM118 - it is no mapping
                return float(weights.get_tensor(name).item())
    return None


def packaged_weights(path: Path | str) -> dict[str, Any]:
    """Load the tensors of a torch file in an installed package (`weights_only`)."""
    import torch

    weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _trained(checkpoint: Checkpoint, *, dtype: str, device: str, attention: str) -> Any:
    import torch

    with no_larger_than(checkpoint.model, checkpoint.size):
        model, report = _class(checkpoint.family.model_class).from_pretrained(
            checkpoint.folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **_LOCKED,
            **_attention(attention),
        )
    model = model.to(device)  # first: a GPU is done with the check before a CPU has begun
    _check_loaded(checkpoint, model, report)
    return model


def _random(checkpoint: Checkpoint, *, dtype: str, device: str, attention: str) -> Any:
    """Build the architecture of a config with random weights."""
    import torch

    config = load_part(checkpoint, "AutoConfig")
    build = partial(
        _class(checkpoint.family.model_class).from_config,
        config,
        dtype=getattr(torch, dtype),
        trust_remote_code=False,
        **_attention(attention),
    )
    with no_larger_than(checkpoint.model, checkpoint.size), torch.device("meta"):
        build()  # takes no memory
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(_SEED)
        model = build()
    if (checkpoint.folder / "generation_config.json").is_file():  # it affects time, too
        model.generation_config = load_part(checkpoint, "GenerationConfig")
    return model


def _attention(attention: str) -> dict[str, str]:
    return {} if attention == "auto" else {"attn_implementation": attention}


def _class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _check_loaded(checkpoint: Checkpoint, model: Any, report: dict[str, Any]) -> None:
    unused = checkpoint.family.unused
    missing = [name for name in report["missing_keys"] if not name.startswith(unused)]
    wrong = [*missing, *(str(key[0]) for key in report["mismatched_keys"])]
    if wrong:
        count = counted(len(wrong), "weight is", "weights are")
        raise ConfigError(
            f"model {checkpoint.model!r}: {count} missing or of another shape than its config "
            f"says, such as {min(wrong)!r}; the class in `transformers` "
            f"reads {checkpoint.family.example!r}, not checkpoints that need remote code"
        )
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ConfigError(
            f"model {checkpoint.model!r}: {broken[0]} is not finite, as after a training that "
            "diverged; use an earlier checkpoint"
        )
