"""Asks for single rows together: who comes while the database is at work is asked for with all others that wait.

A question of one row costs less to answer than to send: a way to the database and back. With nobody else waiting it is
asked at once, so that nobody waits for company.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hseie.analytics.reader import TooManyQueriesError
from hseie.database import Record

# Rows of one statement. More would make the first of them wait for the last.
TOGETHER_MAX = 64

Ask = Callable[[Sequence[str]], Awaitable[Sequence[Record]]]


class Together:
    """Rows by their key. What is answered was read after it was asked for."""

    def __init__(self, ask: Ask, key: str, statements: int, waiting_max: int) -> None:
        """`ask` returns the rows of some keys, in any order; `key` is the name of that column. At most so many
        `statements` run at once, and so many keys wait."""
        self._ask = ask
        self._key = key
        self._statements = statements
        self._waiting_max = waiting_max
        self._waiting: dict[str, asyncio.Future[Record | None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def row(self, key: str) -> Record | None:
        """Return the row of a key, None where there is none.

        Raises TooManyQueriesError, and what `ask` raises.
        """
        found = self._waiting.get(key)
        if found is None:
            if len(self._waiting) >= self._waiting_max:
                raise TooManyQueriesError("too many questions wait for a connection")
            found = self._waiting[key] = asyncio.get_running_loop().create_future()
            if len(self._running) < self._statements:
                task = asyncio.create_task(self._work())
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        # Shielded: others may wait for the same.
        return await asyncio.shield(found)

    async def _work(self) -> None:
        """Ask until nobody waits."""
        while self._waiting:
            asked = dict(list(self._waiting.items())[:TOGETHER_MAX])
            for key in asked:
                del self._waiting[key]
            try:
                rows = await self._ask(list(asked))
            except asyncio.CancelledError:
                for future in asked.values():
                    future.cancel()
                raise
            except Exception as error:  # for whoever asked to deal with
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # it has been told, also where nobody waits any more
            else:
                by_key = {row[self._key]: row for row in rows}
                for key, future in asked.items():
                    future.set_result(by_key.get(key))
