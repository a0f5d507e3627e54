"""The resolved config within a dataset, `run.yaml`: every default filled in.

It has paths and workers of this build, so the manifest, which is the same for all builds, cannot
have its digest: its last line has a digest of the lines before it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import yaml

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.fingerprint import SAMPLE_SHARE
from florilegium.engine.storage.documents import damaged, read_limited
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.safe_yaml import read_yaml
from florilegium.pipelines.dataset.files import RUN

_CURE = "run the same build again, which writes it anew"
_SEAL = b"# sha256 of all lines before this one: "


def resolved_config(run: Run) -> bytes:
    """Return the config with every default filled in, as YAML that builds the same again; the
    signature of a source's URL has to be given once more."""
    document = run.config.model_dump(mode="json")
    for source in document["source"]:
        source["url"] = redacted(source["url"])
    if not run.graph.sample_filters:
        del document[SampleFilter.section]
    for section, nodes in (
        *([(SampleFilter.section, run.graph.sample_filters)] if run.graph.sample_filters else []),
        ("specialists", run.graph.specialists),
        ("filters", run.graph.filters),
    ):
        document[section] = {
            node.name: {
                "use": node.use,
                "reads": list(node.upstream),
                **({SAMPLE_SHARE: node.sample_share} if node.sample_share < 1 else {}),
                **node.stage.config.stored(),
            }
            for node in nodes
        }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    return text + _seal(text)


def read_resolved(output: Folder) -> dict[str, Any]:
    """Return the config that a dataset was built from; an empty one when the file is missing.

    Raises:
        StorageError: the file is damaged.
    """
    data = read_limited(output, RUN, cure=_CURE)
    if data is None:
        return {}
    try:
        document = read_yaml(data, where=RUN)
    except ConfigError as error:
        raise damaged(output, RUN, error, cure=_CURE) from error
    if not isinstance(document, dict):
        raise damaged(output, RUN, "it holds no mapping", cure=_CURE)
    return document


def is_sealed(data: bytes) -> bool:
    """Whether a resolved config is as it was written."""
    text = data[: data.rfind(_SEAL)] if _SEAL in data else data
    return data == text + _seal(text)


def _seal(text: bytes) -> bytes:
    return _SEAL + sha256(text).hexdigest().encode() + b"\n"
