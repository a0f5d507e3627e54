"""Names of datasets as OpenLineage has them: a namespace, the store, and a name within it.

Whoever writes a folder and whoever reads it must give it the same name, else a catalogue does not
join them. The rules are those of OpenLineage's specification (spec/Naming.md). Secrets in a URL are
masked.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from florilegium.engine.core.redaction import redacted

AZURE_ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"
"""The environment variable in which `az://CONTAINER/PATH` has its account."""
_LOCAL = ("", "file", "local")
_BUCKETS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_AZURE = ("abfs", "abfss", "adl", "az")
_URL = re.compile(r"(?:(?P<scheme>[A-Za-z][\w+.-]*)://)?(?P<rest>.*)", re.DOTALL)
_STORE = re.compile(r"(?P<store>[^/?#]*)(?P<path>.*)", re.DOTALL)
_WILDCARD = re.compile(r"[*?\[{]")


@dataclass(frozen=True, kw_only=True, order=True)
class DatasetName:
    """The name of a dataset in a catalogue."""

    namespace: str
    name: str

    @property
    def url(self) -> str:
        """The address in one text: an absolute path, or a URL."""
        is_local = self.namespace == "file"
        return self.name if is_local else f"{self.namespace}/{self.name.lstrip('/')}"


def dataset_name(url: str) -> DatasetName:
    """Return the name of the folder or the file that a URL or a path names.

    Of a pattern (`photos/*.tar`), it is that of the folder before the first wildcard; of a chain of
    file systems (`zip://*.jpg::s3://BUCKET/photos.zip`), that of the last one, which has the bytes.
    """
    match = _URL.fullmatch(redacted(url.rpartition("::")[2]))
    assert match  # it matches every text
    scheme, rest = (match["scheme"] or "").lower(), match["rest"]
    if scheme in _LOCAL:
        path = os.path.abspath(os.path.expanduser(rest))
        return DatasetName(
            namespace="file", name=path if os.path.lexists(path) else _without_pattern(path)
        )
    parts = _STORE.fullmatch(rest)
    assert parts
    store, path = parts["store"], parts["path"]
    if scheme in (*_BUCKETS, *_AZURE):
        namespace = f"{_BUCKETS[scheme]}://{store}" if scheme in _BUCKETS else _azure(store)
        return DatasetName(namespace=namespace, name=_without_pattern(path).strip("/") or "/")
    return DatasetName(namespace=f"{scheme}://{store}", name=path or "/")


def _azure(store: str) -> str:
    """Return the namespace of a container; its account stands in the URL or in the environment."""
    container, _, host = store.partition("@")
    account = host.partition(".")[0] or os.environ.get(AZURE_ACCOUNT, "")
    return f"abfss://{container}" + (f"@{account}.dfs.core.windows.net" if account else "")


def _without_pattern(path: str) -> str:
    """Return the folder before the first part of a path that has a wildcard."""
    wildcard = _WILDCARD.search(path)
    return os.path.dirname(path[: wildcard.start()]) if wildcard else path
