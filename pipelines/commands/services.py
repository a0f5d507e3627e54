"""What to know about the services of a run before it starts: where they are asked, and how often.

A stage that waits for a service runs on any node of a cluster, so its address has to be valid on
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.graph import Node
from florilegium.specialists.online.address import host_of, is_loopback
from florilegium.specialists.online.service import ServiceConfig


def service_lines(run: Run) -> Iterator[str]:
    """Yield a line for each service: its address, and the option to change it."""
    for node, config in _services(run):
        parts = urlsplit(config.address)
        key = f"{node.stage.section}.{node.name}.{config.address_option}"
        yield (
            f"{node.name} asks {node.stage.model} at {parts.scheme}://{parts.hostname}"
            f"{f':{parts.port}' if parts.port else ''}  (--set {key}=...)"
        )


def share_lines(run: Run) -> Iterator[str]:
    """Yield a line for each stage that is asked about a share of the images."""
    for node in run.graph.specialists:
        if node.sample_share < 1:
            yield f"{node.name} is asked about {100 * node.sample_share:g}% of the images"


def loopback_warnings(run: Run) -> Iterator[str]:
    """Yield a warning for each service at an address that means another machine on each node."""
    runner = run.config.runner
    if not runner.may_be_ray or runner.address == "local":
        return
    for node, config in _services(run):
        if is_loopback(host_of(config.address, option=config.address_option)):
            key = f"{node.stage.section}.{node.name}.{config.address_option}"
            yield (
                f"{key} = {config.address!r} is each worker's own machine, and runner.address = "
                f"{runner.address!r} is a cluster: name a host that every node reaches, unless "
                f"the service runs on each of them"
            )


def _services(run: Run) -> Iterator[tuple[Node[Any], ServiceConfig]]:
    for node in run.graph.specialists:
        config = node.stage.config
        if isinstance(config, ServiceConfig) and _has_address(config):
            yield node, config


def _has_address(config: ServiceConfig) -> bool:
    """Whether an address can be read; a wrong one is refused by its stage."""
    try:
        return bool(host_of(config.address))
    except (ConfigError, ValueError):
        return False
