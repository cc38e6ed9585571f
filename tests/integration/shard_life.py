"""One life of a writer without its sockets and its loops, for the model test: driven step by step, cut and killed.

Everything in it is the real thing, wired as `hseie.writer.service` does it. What is made here is the world around:
connections that can be cut at any operation, and files that are left as a kill or a power cut leaves them.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from hseie import database
from hseie.config import Config
from hseie.frames import ACKED, COMMITTED, Ack, Frame, Part, decode, parse_acks
from hseie.writer import service
from hseie.writer.committer import Committer
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.disk import FreeSpace
from hseie.writer.intake import Intake
from hseie.writer.journal import Journal
from hseie.writer.pending import Pending

_WINDOW_S = 3600  # never over within a test; the limit on readings turns the window


@dataclass
class Cut:
    """The connection is lost at the `nth` operation of a name: "before" or "after" it (then the answer is lost), and
    `error` is what its user hears. `done` tells that it has happened.
    """

    operation: str
    nth: int
    moment: str
    error: type[Exception]
    done: bool = False


class Wire:
    """Stands in for `hseie.database.connect`: remembers the connections and cuts them as ordered."""

    def __init__(self, connect: Callable[..., Awaitable[Any]]) -> None:
        self.real_connect = connect
        self._made: list[tuple[object, Cuttable]] = []
        self.life: object = None  # who is acting
        self.cut: Cut | None = None
        self.meanwhile: tuple[str, Callable[[], Awaitable[None]]] | None = None  # what happens before an operation

    async def connect(self, *arguments: Any) -> "Cuttable":
        connection = Cuttable(await self.real_connect(*arguments), self)
        self._made.append((self.life, connection))
        return connection

    def reached(self, operation: str) -> Cut | None:
        cut = self.cut
        if cut is None or cut.done or cut.operation != operation:
            return None
        cut.nth -= 1
        cut.done = cut.nth == 0
        return cut if cut.done else None

    def lose(self, life: object) -> None:
        """Cut all connections of a life, as the kernel does when a process ends."""
        for owner, connection in self._made:
            if owner is life:
                connection.terminate()
        self._made = [(owner, connection) for owner, connection in self._made if owner is not life]

    def backends(self) -> list[int]:
        """The server's process ids of the connections that are open."""
        return [connection.get_server_pid() for _, connection in self._made if not connection.is_closed()]


class Cuttable:
    """A connection of asyncpg that a Wire may cut."""

    def __init__(self, real: Any, wire: Wire) -> None:
        self._real = real
        self._wire = wire
        self.depth = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name in ("execute", "fetchrow", "fetchval", "copy_to_table"):
            return lambda *arguments, **options: self.do(name, lambda: value(*arguments, **options))
        return value

    def transaction(self) -> "_Transaction":
        return _Transaction(self, self._real.transaction())

    async def do(self, operation: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._wire.meanwhile is not None and self._wire.meanwhile[0] == operation:
            _, happens = self._wire.meanwhile
            self._wire.meanwhile = None
            await happens()
        cut = self._wire.reached(operation)
        if cut is None:
            return await work()
        if cut.moment == "before":
            self._real.terminate()
        try:
            await work()
        except database.DATABASE_ERRORS as error:
            raise cut.error(f"cut {cut.moment} {operation}") from error
        self._real.terminate()
        raise cut.error(f"cut after {operation}")


class _Transaction:
    """A transaction whose COMMIT is an operation like the others; savepoints pass."""

    def __init__(self, connection: Cuttable, real: Any) -> None:
        self._connection = connection
        self._real = real

    async def __aenter__(self) -> None:
        await self._real.__aenter__()
        self._connection.depth += 1

    async def __aexit__(self, *error: Any) -> None:
        self._connection.depth -= 1
        if error[0] is None and self._connection.depth == 0:
            await self._connection.do("commit", lambda: self._real.__aexit__(*error))
        else:
            await self._real.__aexit__(*error)


class Life:
    """A writer on the journal at `path`. `seen` counts the frames it knows to be in the file."""

    def __init__(self, number: int, path: Path, url: str, config: Config, window_readings: int) -> None:
        self.number = number
        self.path = path
        self._url = url
        self._config = config
        self._window_readings = window_readings
        self._sent = 0
        self._acks: list[Ack] = []
        self.told_committed = 0  # the newest frame of which somebody was told that it is in PostgreSQL

    async def open(self) -> "Life":
        self.journal = await Journal.open(self.path, 0, 1)
        self.dedupe = DedupeWindow(_WINDOW_S, self._window_readings, 1 << 30, time.monotonic())
        await service._rebuild_window(self.dedupe, self.journal)
        pending = Pending(self.journal, self._config.writer.pending_bytes_max)
        await pending.restart_after(self.journal.oldest_seq - 1)
        self.committer = Committer(
            self.journal,
            pending,
            self._config,
            self._url,
            structlog.ReturnLogger(),
            lambda seq: self.intake.committed(seq, self.committer.parked),
        )
        free_space = FreeSpace(self.path.parent, structlog.ReturnLogger())
        limits = service._limits(self._config)
        self.intake = Intake(self.journal, self.dedupe, pending, limits, free_space, self.committer.arrived)
        self.intake.send = self._hear
        self.first_seq = self.journal.identity.first_seq
        self.opened_with = self.seen
        return self

    @property
    def seen(self) -> int:
        return self.journal.last_seq - self.first_seq + 1

    @property
    def has_work(self) -> bool:
        return self.journal.last_seq > self.committer.committed_seq

    @property
    def is_connected(self) -> bool:
        return self.committer._connection is not None

    def send(self, lines: dict[int, list[str]]) -> None:
        """Let a frame arrive; it is journaled by `sync`."""
        self._sent += 1
        self.intake.on_message(b"acceptor", Frame(self.intake.boot, self._sent, True, parts_of(lines)).encode())

    def _hear(self, peer: bytes, body: bytes) -> bool:
        message = decode(body)
        if message[0] == ACKED:
            self._acks += parse_acks(message)[1]
        elif message[0] == COMMITTED:
            self.told_committed = max(self.told_committed, message[2])
        return True

    async def sync(self) -> list[Ack]:
        """Journal the group that has gathered; return what the acceptor hears. Raises JournalError."""
        await self.intake._journal_group()
        acks, self._acks = self._acks, []
        return acks

    async def prune(self) -> None:
        """Let the service look once what the journal may forget."""
        with contextlib.suppress(_EnoughError):
            await service._prune(self.journal, _LooksOnce(self.dedupe.first_seq), self.committer)

    async def stop(self) -> None:
        """End in order: nothing more comes in, and what came is flushed."""
        self.committer.drain()
        await self.committer.run()
        await self.journal.close()

    def die(self) -> None:
        """Let go of the files without closing them in order."""
        for thread in (self.journal._read_thread, self.journal._write_thread):
            thread.shutdown(wait=True)
        self.journal._reader.close()
        self.journal._writer.close()


class _EnoughError(Exception):
    """The pruning has looked once."""


class _LooksOnce:
    """A dedupe window that ends the pruning's loop at its second look."""

    def __init__(self, first_seq: int | None) -> None:
        self._answers = [first_seq]

    @property
    def first_seq(self) -> int | None:
        if not self._answers:
            raise _EnoughError
        return self._answers.pop()


def parts_of(lines: dict[int, list[str]]) -> tuple[Part, ...]:
    """The parts of a frame that holds these lines, by kind number."""
    return tuple(Part(kind, len(some), "".join(some).encode()) for kind, some in sorted(lines.items()) if some)


def read_files(path: Path) -> dict[str, bytes]:
    """The files of a journal as they are, without what only its processes share."""
    files = {suffix: path.with_name(path.name + suffix) for suffix in ("", "-wal")}
    return {suffix: file.read_bytes() for suffix, file in files.items() if file.exists()}


def write_files(path: Path, files: dict[str, bytes]) -> None:
    """Put back what `read_files` read, as a crash would have left it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for suffix, content in files.items():
        path.with_name(path.name + suffix).write_bytes(content)


def tear(before: dict[str, bytes], after: dict[str, bytes], share: float, garbled: bool) -> dict[str, bytes]:
    """What a power cut leaves of a WAL that was being written: the files `before`, and of what `after` has more in the
    WAL the first `share`, its last byte wrong if `garbled`.
    """
    old, new = before.get("-wal", b""), after.get("-wal", b"")
    start = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(old))
    end = start + round((len(new) - start) * share)
    written = bytearray(new[:end])
    if garbled and end > start:
        written[-1] ^= 0xFF
    return {**before, "-wal": bytes(written) + old[end:]}
