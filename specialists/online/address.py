"""Where a service is, and the key that opens it: read, checked, never repeated.

Keys come from the environment only; a config holds the name of a variable.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from engine.core.errors import ConfigError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Upper case only: a key that was written in its place should not pass for one."""


def host_of(url: str, option: str = "url") -> str:
    """Return the host of a service's address.

    Raises:
        ConfigError: it is no address, or holds what belongs elsewhere; a key is not repeated.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"{option} holds a user, a password or a query: give the bare address, and the key "
            "through the environment variable that api_key_env names"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{option} = {url!r} is no address of a service: https://HOST/PATH")
    return parts.hostname


def read_key(variable: str) -> SecretStr | None:
    """Read a key from the environment; without a variable's name, no key is wanted.

    Raises:
        ConfigError: the variable is not set, or holds what cannot be a key.
    """
    if not variable:
        return None
    if not _NAME.fullmatch(variable):
        raise ConfigError(
            "api_key_env is no name of an environment variable (A-Z, 0-9 and _): it names the "
            "variable that holds the key, the key itself stays out of the config"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"api_key_env = {variable!r}: this environment variable is not set; "
            f"export {variable}=... where the run is started and, on a cluster, on its nodes"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"api_key_env = {variable!r}: this environment variable holds no key but something "
            "with spaces or unusual characters"
        )
    return SecretStr(key)
