"""Addresses and API keys of services: read, checked, and never printed.

Keys come from the environment only; a config has the name of the variable.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from florilegium.engine.core.errors import ConfigError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Upper case only, so that a key itself is not accepted as a name."""


def host_of(url: str, option: str = "url") -> str:
    """Return the host of a service's address.

    Raises:
        ConfigError: it is no URL, or contains a user, a password or a query.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"{option} contains a user, a password or a query: give the bare address, and the "
            "key in the environment variable that api_key_env names"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{option} = {url!r} is no URL of a service: use https://HOST/PATH")
    return parts.hostname


def is_loopback(host: str) -> bool:
    """Return whether a host is the machine that asks, whichever that is; no name is looked up."""
    name = host.rstrip(".").casefold()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return inner.is_loopback or inner.is_unspecified


def read_key(variable: str, *, option: str = "api_key_env") -> SecretStr | None:
    """Read a key from the environment; `None` if no variable is named. `option` names it.

    Raises:
        ConfigError: the variable is not set, or its value cannot be a key.
    """
    if not variable:
        return None
    if not _NAME.fullmatch(variable):
        raise ConfigError(
            f"{option} is no name of an environment variable (A-Z, 0-9 and _): name the variable "
            "with the key there, and keep the key itself out of the config"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"{option} = {variable!r}: this environment variable is not set; "
            f"export {variable}=... where the run is started and, on a cluster, on its nodes"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"{option} = {variable!r}: the value of this environment variable has spaces or "
            "unusual characters, so it is no key: check it"
        )
    return SecretStr(key)
