"""Moves batches into PostgreSQL, one after the other, for as long as it takes.

The committer owns the connection and the shard's checkpoint. Every error ends in one of four ways: try the batch again,
connect again and ask the checkpoint what became of it, park single lines, or end the process because it is fenced.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hseie import database
from hseie.config import Config
from hseie.database import DATABASE_ERRORS, Failure, classify
from hseie.readings import KINDS
from hseie.writer.batch import Batch
from hseie.writer.checkpoint import Checkpoint, Outcome
from hseie.writer.flush import Refused, flush, flush_apart, make_partitions, prepare
from hseie.writer.journal import Journal
from hseie.writer.pace import Backoff, Sleeper, seconds_until_due
from hseie.writer.parked import Parked, find_parked
from hseie.writer.pending import Pending
from hseie.writer.refusals import RefusalBudget, SwallowedError, TooManyRefusedError
from hseie.writer.state import StateMap
from hseie.writer.tally import Tally

_RETRIES_UNSAID = 5  # a lock may be waited for now and then
_OPERATOR_PAUSE_S = 5.0  # between attempts that only an operator can make succeed

T = TypeVar("T")


class Committer:
    """The loop between the pending frames of one journal and PostgreSQL.

    `database` is "ok", "away" (no connection), "locked" (waits for somebody's lock), "schema" (tables missing or wrong)
    or "refusing" (too many lines are refused). `active` counts the readings of the running flush, per kind number.
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
        self.active = [0 for _ in KINDS]
        self.tally = Tally()
        self.parked: Parked = {}  # what the last flush parked
        self.tried = asyncio.Event()  # PostgreSQL was reached once, or was away
        self._journal = journal
        self._pending = pending
        self._config = config
        self._limits = config.postgres
        self._url = postgres_url
        self._log = log
        self._on_committed = on_committed
        self._connection: Any = None
        self._checkpoint = Checkpoint(journal, config.writer.lost_journal, log)
        self._state = StateMap(config.writer.state_devices_max)
        self._refusals = RefusalBudget(config.writer.dead_letters_max)
        self._batch: Batch | None = None
        self._apart = False  # the batch holds a line that PostgreSQL refuses
        self._refused: list[Refused] = []  # those lines, of the attempt that runs
        self._too_slow = False  # it took PostgreSQL too long
        self._days_are_there = False  # it met a missing partition, and none was missing
        self._urgent = False
        self._last_flush = time.monotonic()
        self._sleeper = Sleeper()
        self._backoff = Backoff()
        self._retries = 0

    @property
    def committed_seq(self) -> int:
        return self._checkpoint.seq

    @property
    def epoch(self) -> int:
        return self._checkpoint.owner.epoch if self._checkpoint.owner else 0

    @property
    def state_devices(self) -> int:
        return len(self._state)

    @property
    def refused_lately(self) -> int:
        """Lines parked in the last minute."""
        return self._refusals.spent(time.monotonic())

    def arrived(self, urgent: bool) -> None:
        """Note that readings became pending; `urgent` when somebody waits for their commit."""
        self._urgent = self._urgent or urgent
        self._sleeper.wake()

    def drain(self) -> None:
        """Let `run` end: after the last batch, or at once when PostgreSQL is away (the journal has it all)."""
        self._sleeper.end()

    async def run(self, until_empty: bool = False) -> None:
        """Flush until told to drain or, with `until_empty`, until the journal is committed, however long that takes.

        Raises FencedError, LostJournalError and JournalError; the process must end then.
        """
        try:
            while True:
                await self.step(until_empty)
                finished = self._batch is None and not self._pending.readings and not self._pending.behind
                if (until_empty or self._sleeper.ended) and finished and self._checkpoint.owner is not None:
                    return
                if self._sleeper.ended and self._connection is None:
                    return
        finally:
            await self._disconnect()

    async def step(self, until_empty: bool = False) -> None:
        """Go one step: connect, flush one batch, or do what an error asks for. Raises as `run` does."""
        try:
            await self._go_on(until_empty)
        except (*DATABASE_ERRORS, TooManyRefusedError, SwallowedError) as error:
            self.tried.set()
            await self._recover(error)

    async def _go_on(self, until_empty: bool) -> None:
        if self._connection is None:
            await self._connect()
        if self._batch is None:
            if not (until_empty or self._sleeper.ended):
                await self._wait_until_due()
            self._batch = await self._pending.take()
            if self._batch is not None:
                self._state.leave_out_older(self._batch)
        if self._batch is not None:
            await self._flush(self._batch)

    async def _wait_until_due(self) -> None:
        writer = self._config.writer
        while not (self._sleeper.ended or self._pending.behind):
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
            await self._sleeper.until_woken(delay)

    async def _flush(self, batch: Batch) -> None:
        assert self._checkpoint.owner is not None
        self._urgent = False
        self._last_flush = time.monotonic()
        self.active = [kind.received for kind in batch.kinds]
        move = (self._connection, batch, self._checkpoint.owner, self._checkpoint.seq)
        if self._apart:
            self._refused = []
            left = self._refusals.left(time.monotonic())
            await self._within_time(self._connection, flush_apart(*move, left, self._refused))
        else:
            await self._within_time(self._connection, flush(*move))
        self.tally.took(time.monotonic() - self._last_flush)
        await self._finish(batch)

    async def _finish(self, batch: Batch) -> None:
        """Draw the consequences of a commit."""
        self.parked = await find_parked(self._journal, batch, self._refused)
        self._refusals.spend(time.monotonic(), len(self._refused))
        for refused in self._refused[:10]:
            count = len(self._refused)
            self._log.error("reading_refused", sqlstate=refused.sqlstate, reason=refused.reason, parked=count)
        self.tally.flushed(batch, self._refused)
        if self.database != "ok":
            self._log.info("flushing_resumed", after=self.database, waiting=sum(self._pending.waiting))
            self.database = "ok"
        if not self._apart:
            self._state.learn(batch)
        self._drop_batch()
        self._backoff.reset()
        self._retries = 0
        self._checkpoint.seq = batch.last_seq
        self._on_committed(batch.last_seq)

    async def _connect(self) -> None:
        settings = {
            "lock_timeout": str(self._limits.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self._limits.flush_timeout_ms),
        }
        name = f"hseie writer {self._journal.identity.shard}"
        connection = await database.connect(self._url, name, self._limits.connect_timeout_ms / 1000, settings)
        try:
            await self._within_time(connection, self._take_over(connection))
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self.tried.set()
        if self.database == "away":
            self.database = "ok"
            self._log.info("database_connected", committed_seq=self.committed_seq, waiting=sum(self._pending.waiting))

    async def _take_over(self, connection: Any) -> None:
        """Make a new connection ready, and find out where PostgreSQL is."""
        await prepare(connection)
        if self._checkpoint.owner is not None:
            outcome = await self._checkpoint.ask(connection, self._batch.last_seq if self._batch else None)
            if outcome is Outcome.COMMITTED and self._batch is not None:
                await self._finish(self._batch)
            elif outcome is Outcome.NOT_COMMITTED and self._too_slow and self._batch is not None:
                # Too much for this PostgreSQL, as slow as it is now: the same again in smaller batches.
                self._drop_batch()
                await self._pending.restart_smaller(self._checkpoint.seq)
            if outcome is not Outcome.CHANGED:
                return
        after_seq = await self._checkpoint.claim(connection)
        # Not before: should the claim fail, the next PostgreSQL may be the one that the batch was meant for.
        self._drop_batch()
        self._state = StateMap(self._config.writer.state_devices_max)  # it knew what that PostgreSQL may not
        await self._pending.restart_after(after_seq)

    def _drop_batch(self) -> None:
        """Forget the running batch; the journal has it."""
        self._batch = None
        self._apart = self._days_are_there = False
        self._refused = []
        self._too_slow = False
        self.active = [0 for _ in KINDS]

    async def _within_time(self, connection: Any, work: Coroutine[Any, Any, T]) -> T:
        return await database.within(self._limits.flush_timeout_ms / 1000, connection, work)

    async def _recover(self, error: BaseException) -> None:
        """Do what an error asks for before the batch is tried again."""
        failure = classify(error)
        self.tally.failed("too_many_refused" if isinstance(error, TooManyRefusedError) else failure.value)
        if isinstance(error, TooManyRefusedError):
            await self._pause("refusing", error)
        elif failure is Failure.REFUSED and self._batch is not None and not self._apart:
            self._apart = True
        elif failure is Failure.NO_PARTITION and self._batch is not None:
            await self._make_partitions(self._batch, error)
        elif failure is Failure.RETRY:
            await self._retry_soon(error)
        elif failure is Failure.UNAVAILABLE:
            await self._disconnect()
            self._too_slow = self._too_slow or isinstance(error, TimeoutError)
            if self.database != "away":
                self.database = "away"
                self._log.warning("database_away", reason=str(error) or type(error).__name__)
            await self._sleeper.nap(self._backoff.next_s() * random.uniform(0.5, 1.0))  # noqa: S311
        else:
            await self._pause("schema", error)  # a SwallowedError too

    async def _pause(self, state: str, error: BaseException) -> None:
        if self.database != state:
            self.database = state
            self._log.error("flushing_stopped", state=state, reason=str(error), advice="see `hseie status`")
        await self._disconnect()  # it may remember the columns of tables that an operator is about to change
        await self._sleeper.nap(_OPERATOR_PAUSE_S)

    async def _retry_soon(self, error: BaseException) -> None:
        self._retries += 1
        if self._retries == _RETRIES_UNSAID:
            self.database = "locked"
            self._log.warning("flush_held_up", reason=str(error), advice="who holds locks? see pg_stat_activity")
        await self._sleeper.nap(random.uniform(0.02, 0.1) * min(self._retries, 10))  # noqa: S311  # jitter, not a secret

    async def _make_partitions(self, batch: Batch, error: BaseException) -> None:
        try:
            made = await self._within_time(self._connection, make_partitions(self._connection, batch))
        except DATABASE_ERRORS as failed:
            if classify(failed) is Failure.REFUSED:  # our function's own words: a table stands in the way
                await self._pause("schema", failed)
            else:
                await self._recover(failed)
            return
        if made:
            self._log.info("partitions_made", partitions=made, why="readings of those days came")
        elif self._days_are_there:
            await self._pause("schema", error)  # and still there is none for some row
        self._days_are_there = not made  # perhaps another writer has made them since: that is no mistake

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await database.close(connection)
