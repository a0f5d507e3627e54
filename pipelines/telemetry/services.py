"""Observers that send to services, where the environment of this process names one.

The variables are those that each service has for all programs. What cannot be set up is an error
before a run starts, as nothing would be seen of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.planning.registry import require
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import cut

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from florilegium.pipelines.telemetry.lineage import Lineage
    from florilegium.pipelines.telemetry.lineage_events import LineageRun
    from florilegium.pipelines.telemetry.tracing import Tracing

_LINEAGE = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE")
_TRACING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_NO_TRACES = "OTEL_TRACES_EXPORTER=none"


def lineage_of(command: str, output: Folder, parent: LineageRun | None = None) -> Lineage | None:
    """Return the observer of a command that sends OpenLineage events, if there is a receiver.

    Raises:
        UsageError: it is not installed, or cannot be set up.
    """
    if not _is_set(*_LINEAGE) or _is_true("OPENLINEAGE_DISABLED"):
        return None
    require("OpenLineage, which the environment asks for,", ("openlineage",), extra="lineage")
    with _set_up("OpenLineage", off="OPENLINEAGE_DISABLED=true"):
        from florilegium.pipelines.telemetry.lineage import Lineage

        return Lineage(command, output, parent=parent)


def tracing_of(command: str, parent: Context | None = None) -> Tracing | None:
    """Return the observer of a command that sends OpenTelemetry spans, if there is a collector.

    Raises:
        UsageError: it is not installed, or cannot be set up.
    """
    is_off = _is_true("OTEL_SDK_DISABLED") or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not _is_set(*_TRACING) or is_off:
        return None
    packages = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    require("OpenTelemetry, which the environment asks for,", packages, extra="tracing")
    for variable in filter(os.environ.get, _PROTOCOLS):
        if os.environ[variable] != _PROTOCOL:
            raise ConfigError(
                f"{variable} = {cut(os.environ[variable])}: spans are sent by {_PROTOCOL} only: "
                f"set it to that, with the port of HTTP (4318), or set {_NO_TRACES}"
            )
    with _set_up("OpenTelemetry", off=_NO_TRACES):
        from florilegium.pipelines.telemetry.tracing import Tracing

        return Tracing(command, parent=parent)


@contextmanager
def _set_up(what: str, *, off: str) -> Iterator[None]:
    """Name the environment where a library cannot use what it says."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # each library has its own
        raise ConfigError(
            f"{what} cannot be set up as its environment variables say: {error}; correct them, or "
            f"set {off}"
        ) from error


def _is_set(*variables: str) -> bool:
    return any(map(os.environ.get, variables))


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() == "true"
