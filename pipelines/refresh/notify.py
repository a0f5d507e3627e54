"""The hook of a refresh: a command or a web address that gets the record as JSON.

It is tried a few times, with a pause that doubles. One that fails is reported, and changes nothing
about the version.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from florilegium.engine.core.errors import ConfigError, FlorilegiumError, SampleError
from florilegium.engine.core.known_secrets import without_values
from florilegium.engine.core.redaction import redacted
from florilegium.engine.planning.registry import require
from florilegium.engine.results.publication import to_json
from florilegium.engine.storage.documents import in_one_line
from florilegium.pipelines.refresh.options import Hook
from florilegium.specialists.online.address import read_key
from florilegium.specialists.online.exchange import Exchange
from florilegium.specialists.online.failure import refusal
from florilegium.specialists.online.service import Priced, Service, ServiceConfig

_MAX_SHOWN = 2000
"""Characters of a program's own messages that are read."""


class HookFailed(FlorilegiumError):
    """A hook failed at all its attempts."""


def check_hooks(hooks: Sequence[Hook]) -> None:
    """Check before a run what a hook needs after it.

    Raises:
        ConfigError: a variable of the environment is not set, or has no address.
        MissingPackage: a webhook needs `httpx`.
    """
    for hook in hooks:
        if not hook.command:
            _address_of(hook)
            _key_of(hook)
            require("the webhook of refresh.notify", ("httpx",), extra="online")


def notify(
    hooks: Sequence[Hook],
    record: Mapping[str, Any],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Call all hooks that want this outcome; return a line for each that failed."""
    problems = []
    for hook in hooks:
        if record["outcome"] in hook.on:
            try:
                _run(hook, record, pause) if hook.command else _post(hook, record)
            except FlorilegiumError as error:
                problems.append(str(error))
    return problems


def _run(hook: Hook, record: Mapping[str, Any], pause: Callable[[float], None]) -> None:
    """Run a command until it succeeds."""
    problem = ""
    for attempt in range(hook.attempts):
        if attempt:
            pause(hook.backoff_s * 2 ** (attempt - 1))
        problem = _run_once(hook, to_json(record, indent=1))
        if not problem:
            return
    raise HookFailed(
        f"the hook {hook.command[0]!r} failed {hook.attempts} times, the last time: {problem}"
    )


def _run_once(hook: Hook, data: bytes) -> str:
    """Run a command once; return what went wrong, or ""."""
    try:
        process = subprocess.Popen(
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # what it starts ends with it
        )
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    with process:
        try:
            _, messages = process.communicate(data, timeout=hook.timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return f"it took longer than timeout_s = {hook.timeout_s:g}"
        except BaseException:
            _kill(process)
            raise
    if not process.returncode:
        return ""
    shown = in_one_line(redacted(messages[-_MAX_SHOWN:].decode("utf-8", "replace")))
    return f"it ended with {process.returncode}" + (f": {shown}" if shown else "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _post(hook: Hook, record: Mapping[str, Any]) -> None:
    """Send the record to a webhook, with the retries of services."""
    url, key = _address_of(hook), _key_of(hook)
    config = ServiceConfig(
        concurrency=1,
        attempts=hook.attempts,
        backoff_s=hook.backoff_s,
        timeout_s=hook.timeout_s,
        longest_wait_s=hook.timeout_s,
        allow_private_addresses=hook.allow_private_addresses,
    )
    exchange = Exchange(url.get_secret_value(), key, config)

    async def send() -> Priced[None]:
        answer = await exchange.ask("POST", "", record)
        if not answer.is_success:
            raise refusal(answer.status, answer.headers, answer.body)
        return Priced(value=None)

    service = Service(config, exchange, key)
    try:
        (answer,) = service.ask([send])
    finally:
        service.close()
    if isinstance(answer, SampleError):
        where = hook.webhook or hook.webhook_env
        raise HookFailed(f"the hook {where!r} failed: {_without(answer.message, url)}")


def _address_of(hook: Hook) -> SecretStr:
    """Return the address of a webhook, which may be a secret itself."""
    if hook.webhook:
        return SecretStr(hook.webhook)
    address = read_key(hook.webhook_env, option="refresh.notify.webhook_env") or SecretStr("")
    parts = urlsplit(address.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError(
            f"refresh.notify.webhook_env = {hook.webhook_env!r}: the value of this environment "
            f"variable is no address such as https://HOST/PATH"
        )
    return address


def _key_of(hook: Hook) -> SecretStr | None:
    return read_key(hook.token_env, option="refresh.notify.token_env")


def _without(message: str, url: SecretStr) -> str:
    """Return a message without the address."""
    return without_values(message, url.get_secret_value())
