"""Waiting for something that others bring about: they ring, who waits looks again."""

import asyncio
from collections.abc import Callable


class Changes:
    """One bell for all that wait in a loop; each knows himself what he waits for."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    async def until(self, holds: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until `holds()`, looking after each ring, at most `timeout_s` seconds; return whether it holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._rung.clear()
                    await self._rung.wait()
        except TimeoutError:
            return holds()
        return True
