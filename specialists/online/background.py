"""An event loop in a thread of its own, for synchronous callers.

The thread ends with `close`, when its owner is garbage collected, or with the process.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

_Started = Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]


class BackgroundLoop:
    """Runs coroutines for any number of threads; `client` stays open until `close`."""

    def __init__(self, client: AbstractAsyncContextManager[Any], *, name: str) -> None:
        started: _Started = Future()
        live = _live(client, started)
        self._thread = threading.Thread(target=asyncio.run, args=(live,), name=name, daemon=True)
        self._thread.start()
        self._loop, stop = started.result()
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, stop.set)

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine in the loop and wait for it; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the client and end the thread; further calls do nothing."""
        self._stop()
        self._thread.join()


async def _live(client: AbstractAsyncContextManager[Any], started: _Started) -> None:
    """Keep the client open until `stop` is set; holds no reference to the owner."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(client)
        except Exception as error:
            started.set_exception(error)
            return
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
