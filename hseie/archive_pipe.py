"""Rows between PostgreSQL and DuckDB, through a pipe: no more of a day is in memory than the pipe holds."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_PIECE_BYTES = 262_144
_PATIENCE_S = 2.0  # for a connection that was cut


class Pipe:
    """A pipe of which this loop has one end, and DuckDB, which opens it by the name of a file, the other."""

    def __init__(self) -> None:
        self._ends = dict(zip(("source", "target"), os.pipe(), strict=True))

    @property
    def source(self) -> Path:
        """The end to read from, as a file."""
        return Path(f"/dev/fd/{self._ends['source']}")

    @property
    def target(self) -> Path:
        """The end to write to, as a file."""
        return Path(f"/dev/fd/{self._ends['target']}")

    async def send(self, data: bytes) -> None:
        """Write all of `data`, waiting as long as the other end is busy."""
        end = self._ends["target"]
        os.set_blocking(end, False)  # ours alone: who opens the end by its name has flags of his own
        loop = asyncio.get_running_loop()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(end, rest) :]
            except BlockingIOError:
                await _ready(end, loop.add_writer, loop.remove_writer)

    async def received(self) -> AsyncIterator[bytes]:
        """Yield what is written, until nobody has the other end any more."""
        end = self._ends["source"]
        os.set_blocking(end, False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                piece = os.read(end, _PIECE_BYTES)
            except BlockingIOError:
                await _ready(end, loop.add_reader, loop.remove_reader)
                continue
            if not piece:
                return
            yield piece

    def close(self, *names: str) -> None:
        """Close our side of the ends `source` or `target`; of both where none is named."""
        for name in names or ("source", "target"):
            if (end := self._ends.pop(name, None)) is not None:
                os.close(end)


async def _ready(end: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(end, ready.set)
    try:
        await ready.wait()
    finally:
        remove(end)


@asynccontextmanager
async def transaction(connection: Any, **options: Any) -> AsyncIterator[None]:
    """Be in a transaction, as `connection.transaction` has it; what failed is told also where it cut the connection."""
    whole = connection.transaction(**options)
    await whole.start()
    try:
        yield
    except BaseException:
        if not connection.is_closed():
            await whole.rollback()
        raise
    await whole.commit()


async def run_both(
    connection: Any, pipe: Pipe, in_archive: Coroutine[Any, Any, Any], in_postgres: Coroutine[Any, Any, Any]
) -> None:
    """Do what reads from a pipe and what writes to it at once. Raises what either raises, the archive's first.

    Cuts the connection where the archive fails: a COPY that is under way may not end as if it were whole.
    """
    archive_task, postgres_task = asyncio.ensure_future(in_archive), asyncio.ensure_future(in_postgres)
    try:
        await asyncio.wait({archive_task, postgres_task}, return_when=asyncio.FIRST_EXCEPTION)
        for task in (archive_task, postgres_task):
            if task.done():
                task.result()
    finally:
        if not postgres_task.done():
            connection.terminate()
            postgres_task.cancel()
            await asyncio.wait({postgres_task}, timeout=_PATIENCE_S)
        pipe.close()  # which ends what the archive's thread waits for
        archive_task.cancel()
        await asyncio.gather(archive_task, postgres_task, return_exceptions=True)
