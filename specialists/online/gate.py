"""Rate limiting of requests."""

from __future__ import annotations

import asyncio


class RateGate:
    """Spaces requests evenly, and pauses them while the service asks for it (Retry-After)."""

    def __init__(self, per_minute: float | None) -> None:
        self._spacing_s = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    async def turn(self) -> None:
        """Wait until the next request may be sent."""
        now = asyncio.get_running_loop().time
        while (wait_s := self._free_at - now()) > 0:
            await asyncio.sleep(wait_s)
        self._free_at = now() + self._spacing_s

    def hold(self, seconds: float) -> None:
        """Pause all requests for some seconds."""
        self._free_at = max(self._free_at, asyncio.get_running_loop().time() + seconds)
