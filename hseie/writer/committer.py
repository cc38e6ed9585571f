"""Moves batches into PostgreSQL, one after the other, for as long as it takes.

The committer owns the connection and the shard's checkpoint. Every error ends in one of four ways: try the batch again,
connect again and ask the checkpoint what became of it, park single lines, or end the process because it is fenced.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import date
from typing import Any

from hseie import database
from hseie.config import Config
from hseie.database import DATABASE_ERRORS, Failure, classify, statement
from hseie.errors import FencedError
from hseie.readings import KINDS
from hseie.writer.batch import Batch
from hseie.writer.flush import Ownership, TooManyRefusedError, flush, flush_apart, prepare
from hseie.writer.journal import Journal
from hseie.writer.pending import Pending

_BACKOFF_MIN_S = 0.1
_BACKOFF_MAX_S = 2.0
_OPERATOR_PAUSE_S = 5.0  # between attempts that only an operator can make succeed


def seconds_until_due(
    now: float, last_flush: float, readings: int, urgent: bool, interval_s: float, readings_max: int
) -> float | None:
    """Return how long the next flush may wait; None when there is nothing to flush. Times are monotonic seconds."""
    if not readings:
        return None
    if urgent or readings >= readings_max:
        return 0.0
    return max(0.0, last_flush + interval_s - now)


class Committer:
    """The loop between the pending frames of one journal and PostgreSQL.

    `database` is "ok", "away" (no connection), "schema" (tables missing or wrong) or "refusing" (too many lines are
    refused). `active` counts the readings of the running flush, per kind number.
    """

    def __init__(
        self,
        journal: Journal,
        pending: Pending,
        config: Config,
        postgres_url: str,
        log: Any,
        on_committed: Callable[[int], None],
    ) -> None:
        self.database = "away"
        self.committed_seq = 0
        self.epoch = 0
        self.active = [0 for _ in KINDS]
        self.flushes = 0
        self.dead_lettered = 0
        self._journal = journal
        self._pending = pending
        self._config = config
        self._url = postgres_url
        self._log = log
        self._on_committed = on_committed
        self._connection: Any = None
        self._owner: Ownership | None = None
        self._batch: Batch | None = None
        self._apart = False  # the batch holds a line that PostgreSQL refuses
        self._urgent = False
        self._last_flush = time.monotonic()
        self._wake = asyncio.Event()
        self._draining = False
        self._backoff_s = _BACKOFF_MIN_S

    def arrived(self, urgent: bool) -> None:
        """Note that readings became pending; `urgent` when somebody waits for their commit."""
        self._urgent = self._urgent or urgent
        self._wake.set()

    def drain(self) -> None:
        """Let `run` end: after the last batch, or at once when PostgreSQL is away (the journal has it all)."""
        self._draining = True
        self._wake.set()

    async def run(self, until_empty: bool = False) -> None:
        """Flush until told to drain or, with `until_empty`, until the journal is committed, however long that takes.

        Raises FencedError and JournalError; the process must end then.
        """
        try:
            while True:
                try:
                    await self._step(until_empty)
                except (*DATABASE_ERRORS, TooManyRefusedError) as error:
                    await self._recover(error)
                finished = self._batch is None and not self._pending.readings and not self._pending.behind
                if (until_empty or self._draining) and finished and self._owner is not None:
                    return
                if self._draining and self._connection is None:
                    return
        finally:
            await self._disconnect()

    async def _step(self, until_empty: bool) -> None:
        if self._connection is None:
            await self._connect()
        if self._batch is None:
            if not (until_empty or self._draining):
                await self._wait_until_due()
            self._batch = await self._pending.take(after_parking=self._apart)
            self._apart = False
        if self._batch is not None:
            await self._flush(self._batch)

    async def _wait_until_due(self) -> None:
        writer = self._config.writer
        while not (self._draining or self._pending.behind):
            delay = seconds_until_due(
                time.monotonic(),
                self._last_flush,
                self._pending.readings,
                self._urgent,
                writer.flush_interval_ms / 1000,
                writer.flush_readings_max,
            )
            if delay == 0.0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _flush(self, batch: Batch) -> None:
        assert self._owner is not None
        self._urgent = False
        self._last_flush = time.monotonic()
        self.active = [kind.received for kind in batch.kinds]
        if self._apart:
            limit = self._config.writer.dead_letters_max
            parked = await self._within_time(
                flush_apart(self._connection, batch, self._owner, self.committed_seq, limit)
            )
            self.dead_lettered += len(parked)
            for refused in parked[:10]:
                self._log.error("reading_refused", sqlstate=refused.sqlstate, reason=refused.reason, parked=len(parked))
        else:
            await self._within_time(flush(self._connection, batch, self._owner, self.committed_seq))
        self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        if self.database != "ok":
            self._log.info("flushing_resumed", after=self.database, waiting=sum(self._pending.waiting))
            self.database = "ok"
        self._backoff_s = _BACKOFF_MIN_S
        self._batch = None
        self.active = [0 for _ in KINDS]
        self.flushes += 1
        self.committed_seq = batch.last_seq
        self._on_committed(batch.last_seq)

    async def _within_time(self, work: Any) -> Any:
        """Run a flush; when it does not end in time, cut the connection and raise TimeoutError.

        A cancellation alone is not enough: asyncpg can wait for ever inside a COPY whose backend has died.
        """
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._config.postgres.flush_timeout_ms / 1000)
        except asyncio.CancelledError:
            self._connection.terminate()
            task.cancel()
            raise
        if done:
            return task.result()
        self._connection.terminate()
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        raise TimeoutError("the flush did not end in time")

    async def _connect(self) -> None:
        limits = self._config.postgres
        settings = {
            "lock_timeout": str(limits.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(limits.flush_timeout_ms),
        }
        name = f"hseie writer {self._journal.identity.shard}"
        connection = await database.connect(self._url, name, limits.connect_timeout_ms / 1000, settings)
        try:
            await prepare(connection)
            if self._owner is None:
                await self._claim(connection)
            else:
                await self._ask_checkpoint(connection, self._owner)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        if self.database == "away":
            self.database = "ok"
            self._log.info("database_connected", committed_seq=self.committed_seq, waiting=sum(self._pending.waiting))

    async def _claim(self, connection: Any) -> None:
        identity, oldest = self._journal.identity, self._journal.oldest_seq
        facts = (identity.journal_id, identity.shard, identity.shards, identity.first_seq, oldest)
        row = await connection.fetchrow(statement("checkpoint_claim"), *facts)
        if row["last_seq"] > self._journal.opened_last_seq:
            raise FencedError(
                f"PostgreSQL has frames up to {row['last_seq']} of this journal, which itself ends at "
                f"{self._journal.opened_last_seq}: it is an older copy; bring back the newest, or move this one away"
            )
        self._owner = Ownership(identity.journal_id, row["epoch"])
        self.epoch = row["epoch"]
        await self._go_on_after(row["last_seq"])

    async def _ask_checkpoint(self, connection: Any, owner: Ownership) -> None:
        """Find out, after a lost connection, whether the running batch was committed."""
        row = await connection.fetchrow(statement("checkpoint_read"), owner.journal_id)
        if row is not None and row["epoch"] != owner.epoch:
            raise FencedError(f"journal {owner.journal_id} was taken over by another writer (epoch {row['epoch']})")
        last_seq = None if row is None else row["last_seq"]
        if self._batch is not None and last_seq == self._batch.last_seq:
            self._finish(self._batch)
        elif last_seq != self.committed_seq:
            self._log.error("checkpoint_changed", expected=self.committed_seq, found=last_seq)
            self._batch = None
            self.active = [0 for _ in KINDS]
            self._owner = None
            await self._claim(connection)

    async def _go_on_after(self, last_seq: int) -> None:
        oldest = self._journal.oldest_seq
        if last_seq + 1 < oldest:
            self._log.error(
                "frames_missing", after=last_seq, before=oldest, advice="was PostgreSQL restored from an older backup?"
            )
        self.committed_seq = last_seq
        await self._pending.restart_after(max(last_seq, oldest - 1))

    async def _recover(self, error: BaseException) -> None:
        """Do what an error asks for before the batch is tried again."""
        failure = classify(error)
        if isinstance(error, TooManyRefusedError):
            await self._pause("refusing", error)
        elif failure is Failure.REFUSED and self._batch is not None and not self._apart:
            self._apart = True
        elif failure is Failure.NO_PARTITION and self._batch is not None:
            await self._make_partitions(self._batch)
        elif failure is Failure.RETRY:
            await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # jitter, not a secret
        elif failure is Failure.UNAVAILABLE:
            await self._disconnect()
            if self.database != "away":
                self.database = "away"
                self._log.warning("database_away", reason=str(error) or type(error).__name__)
            await self._nap(self._backoff_s * random.uniform(0.5, 1.0))  # noqa: S311
            self._backoff_s = min(self._backoff_s * 2, _BACKOFF_MAX_S)
        else:
            await self._pause("schema", error)

    async def _pause(self, state: str, error: BaseException) -> None:
        if self.database != state:
            self.database = state
            self._log.error("flushing_stopped", state=state, reason=str(error), advice="see `hseie status`")
        await self._disconnect()  # it may remember the columns of tables that an operator is about to change
        await self._nap(_OPERATOR_PAUSE_S)

    async def _nap(self, seconds: float) -> None:
        """Sleep, but not through a drain."""
        deadline = time.monotonic() + seconds
        while not self._draining and time.monotonic() < deadline:
            self._wake.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _make_partitions(self, batch: Batch) -> None:
        try:
            for number, day in batch.days():
                made = await self._connection.fetchval(
                    statement("make_partition"), KINDS[number].name, date.fromisoformat(day)
                )
                if made:
                    self._log.info("partition_made", kind=KINDS[number].name, day=day, why="readings of that day came")
        except DATABASE_ERRORS as error:
            if classify(error) is Failure.UNAVAILABLE:
                await self._disconnect()
            await asyncio.sleep(0.1)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await database.close(connection)
