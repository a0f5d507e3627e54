"""What is wrong with the files of an audit."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import LEASES
from florilegium.pipelines.audit.log import AuditLog
from florilegium.pipelines.dataset.takedown_lines import AUDIT, AUDIT_LOG
from florilegium.pipelines.merge.learning.audit import answers_in


def audit_problems(output: Folder, checked: set[str]) -> Iterator[str]:
    """Yield what is wrong with the audit of a dataset; the names of its files are added to
    `checked`. A torn last line is none: it was never acknowledged."""
    names = [name for name in output.names(AUDIT_LOG) if name != LEASES]
    for name in names:
        if not name.endswith(".jsonl"):
            yield f"{AUDIT_LOG}/{name} is no log of an audit"
    try:
        if names:
            AuditLog.of(Folder(f"{output.url}/{AUDIT_LOG}"))
            checked.update(f"{AUDIT_LOG}/{name}" for name in names)
        if (data := output.read(AUDIT)) is not None:
            answers_in(data, AUDIT)
            checked.add(AUDIT)
    except (ConfigError, StorageError) as error:
        yield str(error)
