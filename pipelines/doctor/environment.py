"""Environment variables that change what a build does: their names, never their values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from florilegium.engine.core.known_secrets import is_secret_variable
from florilegium.pipelines.doctor.finding import OK, WARNING, Finding

TOPIC = "environment"
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Python": ("PYTHON", "VIRTUAL_ENV"),
    "threads and GPUs": ("OMP_", "MKL_", "CUDA_", "NVIDIA_", "PYTORCH_", "TORCH_"),
    "model hub": ("HF_", "HUGGING", "TRANSFORMERS_"),
    "Ray": ("RAY_",),
    "storage": ("AWS_", "GOOGLE_", "GCS", "AZURE_", "FSSPEC_", "TMPDIR", "XDG_CACHE"),
    "services": ("OPENAI_", "VISION_"),
    "monitoring": ("FLORILEGIUM_", "OTEL_", "OPENLINEAGE_", "TRACEPARENT"),
    "web proxy": ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT", "REQUESTS_CA"),
}
"""Beginnings of names, by what they are for."""
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def environment_findings() -> Iterator[Finding]:
    """Yield the variables that are set, by what they are for; of those with secrets that they are
    secret."""
    for name, beginnings in _GROUPS.items():
        found = [one for one in sorted(os.environ) if one.upper().startswith(beginnings)]
        if found:
            text = ", ".join(f"{one} (secret)" if is_secret_variable(one) else one for one in found)
            yield Finding(topic=TOPIC, name=name, level=OK, text=text)
    for name in _OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON"):
            yield Finding(
                topic=TOPIC,
                name=name,
                level=WARNING,
                text="is on: no model can be fetched",
                cure=f"unset {name} to fetch models",
            )
