"""Configs without secrets: what opens a service or a storage comes from the environment.

The address of a source may be signed, since that is how some storages lend files; it is masked
wherever it is written. Everything else that holds a user, a password, a key or a token is refused,
and never repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from florilegium.engine.core.known_secrets import is_secret_name
from florilegium.engine.core.redaction import has_signature, has_user, is_redacted, is_secret

_CURE = (
    "give it through the environment: variables of the storage (AWS_ACCESS_KEY_ID, ...), fsspec's "
    "config (~/.config/fsspec/NAME.json), or the variable that api_key_env names"
)

_SOURCE_URLS = (("source",), ("source", "url"))
"""The keys of URLs that may be signed."""


def refuse_credentials(config: Mapping[str, Any]) -> None:
    """Refuse a run's config with secrets in it.

    Raises:
        ValueError: with the key and the cure, without the secret.
    """
    for url in _sources(config.get("source")):
        if has_user(url):
            raise ValueError(f"the URL of the source holds a user or a password: {_CURE}")
        if is_redacted(url):
            raise ValueError(
                "the URL of the source was written without its signature, which opens it: give "
                "the whole URL with --source"
            )
    for path, value in _texts(config, ()):
        if path not in _SOURCE_URLS and (problem := _problem(path, value)):
            raise ValueError(f"{'.'.join(path)} {problem}: {_CURE}")


def _sources(source: Any) -> Iterator[str]:
    for one in source if isinstance(source, list | tuple) else (source,):
        url = one.get("url") if isinstance(one, Mapping) else one
        if isinstance(url, str):
            yield url


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text in nested values, with the keys that lead to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, path)


def _problem(path: tuple[str, ...], value: str) -> str:
    if has_user(value):
        return "holds a user or a password"
    if "://" in value and has_signature(value):
        return "holds a signature or a key"
    if value and (is_secret_name(path[-1]) or is_secret(value)):
        return "holds a secret"
    return ""
