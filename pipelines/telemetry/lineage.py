"""Telling a catalogue by OpenLineage what a run reads and writes, and how it ended.

OpenLineage's own client sends the events; its environment variables and its file of settings say
where to. A receiver that does not answer costs a warning and a few seconds at the end of a run.
"""

from __future__ import annotations

import logging
import os
from uuid import UUID

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.observer import (
    Fact,
    Observer,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from florilegium.engine.results.manifest import Manifest, named_shards, read_manifest
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import cut
from florilegium.pipelines.telemetry.dataset_names import dataset_name
from florilegium.pipelines.telemetry.lineage_events import NAME, Events, LineageRun
from florilegium.pipelines.telemetry.sending import CLOSING_S, STOPPING_S, Sender, Service

logging.getLogger("openlineage").addHandler(logging.NullHandler())  # else it prints errors

NAMESPACE = "OPENLINEAGE_NAMESPACE"
"""The environment variable with the namespace of jobs."""
PARENT = "OPENLINEAGE_PARENT_ID"
"""The environment variable in which a scheduler names its own run: NAMESPACE/JOB/RUN_ID."""


class Lineage(Observer):
    """Sends the events of one run of a command on a dataset."""

    def __init__(self, command: str, output: Folder, *, parent: LineageRun | None = None) -> None:
        self._output = output
        self._parent = parent or parent_of_environment()
        self._command = command
        self._shards_before: frozenset[str] = frozenset()
        name = dataset_name(output.url)
        self.run = LineageRun.new(os.environ.get(NAMESPACE) or NAME, f"{command}:{name.url}")
        client = OpenLineageClient()
        self._sender = Sender(
            client.emit, lambda: client.close(CLOSING_S), Service("the receiver of OpenLineage")
        )

    def observe(self, fact: Fact) -> None:
        match fact:
            case RunStarted(sources=sources):
                self._events = Events(
                    run=self.run,
                    parent=self._parent,
                    command=self._command,
                    inputs=sorted({dataset_name(url) for url in sources}),
                    output=dataset_name(self._output.url),
                )
                self._shards_before = frozenset(named_shards(self._output))
                self._sender.send(self._events.started())
            case RunFinished(manifest=manifest):
                self._sender.send(self._finished(manifest))
                self._sender.close(CLOSING_S)
            case RunFailed(error=error):
                self._sender.send(self._events.failed(error))
                self._sender.close(CLOSING_S)
            case RunStopped():
                self._sender.send(self._events.aborted())
                self._sender.close(STOPPING_S)
            case _:
                pass  # a catalogue knows of whole runs only

    def _finished(self, manifest: Manifest | None) -> RunEvent:
        """Return the event of a run that finished its dataset, or its part of one."""
        document = read_manifest(self._output) if manifest else None
        if manifest is None or document is None:
            return self._events.completed()
        made = manifest.shards.named(self._shards_before, are_others=True)
        return self._events.completed_dataset(manifest, digest=document["digest"], made=made)


def parent_of_environment() -> LineageRun | None:
    """Return the run that a scheduler names as the parent of this one.

    Raises:
        ConfigError: it cannot be read.
    """
    text = os.environ.get(PARENT, "")
    if not text:
        return None
    rest, _, run_id = text.rpartition("/")
    namespace, _, job = rest.rpartition("/")
    try:
        UUID(run_id)
    except ValueError:
        job = ""
    if not (namespace and job):
        raise ConfigError(
            f"{PARENT} = {cut(text)} names no run: it is NAMESPACE/JOB/RUN_ID, where RUN_ID is a "
            f"UUID; correct or unset it"
        )
    return LineageRun(namespace=namespace, job=job, run_id=run_id)
