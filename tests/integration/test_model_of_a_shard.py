"""A model of a shard: journal, checkpoint and flush do whatever hypothesis thinks of, and every reading is there once.

Writers live and die on a real journal and a real PostgreSQL: killed between any two steps and in the middle of an
append, cut off at any operation of a flush, replaced by others on the same file or on a copy of it. After every step
the tables are held against plain lists (`shard_oracle.py`). HSEIE_FAULT_MINUTES lengthens it, HSEIE_TEST_SEED repeats
a run.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from hseie import database, failpoints
from hseie.config_load import load
from hseie.errors import FencedError, JournalError
from hseie.writer.batch import Batch, split_lines
from hseie.writer.flush import Ownership, flush, prepare
from tests.integration.shard_life import Cut, Life, Wire, parts_of, read_files, tear, write_files
from tests.integration.shard_oracle import KIND_NAMES, REFUSED_KWH, File, Frame, Oracle, Reading, Tables, check_marks

MINUTES = float(os.environ.get("HSEIE_FAULT_MINUTES") or 0)
EXAMPLES = 12  # a round
WINDOW_READINGS = 12  # at least half of them are remembered
ENERGY = dict(zip(KIND_NAMES, ("kwh_consumed_ac", "kwh_delivered_dc"), strict=True))
DAY = "2026-11-20T12:00:00"
MOMENTS = ("journal.before_commit", "journal.after_commit")
FILES_MAX = 2
LIVES_MAX = 2
CONFIG = load(None, {"HSEIE_WRITER__PENDING_BYTES_MAX": "700", "HSEIE_POSTGRES__FLUSH_TIMEOUT_MS": "10000"}).config

# One statement, so that all of it is of one moment; a list a column.
READ = "SELECT " + ", ".join(
    f"coalesce((SELECT array_agg({what}) FROM {table}), '{{}}') AS {name}"
    for name, what, table in (
        ("checkpoint", "ROW(epoch, last_seq)", "shard_checkpoint"),
        ("books", "ROW(kind, received, stored, duplicates, dead_lettered)", "shard_book"),
        ("marks", "ROW(kind, device_id, bucket)", "rollup_mark"),
        *(
            (f"{kind}_{place}", f"ROW({kind}_id, timestamp, {value}::int){order}", f"{kind}_{place}")
            for kind, value in ENERGY.items()
            for place, order in (("history", " ORDER BY id"), ("current", ""))
        ),
        *((f"{kind}_parked", "original", f"dead_letter WHERE kind = '{kind}'") for kind in KIND_NAMES),
    )
)

readings = st.builds(
    Reading,
    kind=st.sampled_from((0, 1)),
    device=st.sampled_from(("A", "B")),
    time=st.sampled_from((DAY, "2026-11-20T12:00:01", "2026-11-20T12:00:00.5", "2026-11-19T23:59:59")),
    kwh=st.sampled_from((1, 1, 1, 2, 2, 2, 3, 3, 3, REFUSED_KWH)),
)
groups = st.lists(st.lists(readings, min_size=1, max_size=5), min_size=1, max_size=3)
# Hours are opened again too, lest all are closed soon.
hours = st.sampled_from([datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (0, 12, 13)])
which = st.integers(0, 5)
usually = st.sampled_from((True, True, True, False))
operations = st.sampled_from(("commit", "commit", "fetchval", "fetchrow", "execute", "copy_to_table"))
cuts = st.none() | st.builds(
    Cut,
    operation=operations,
    nth=st.sampled_from((1, 1, 1, 2, 3)),
    moment=st.sampled_from(("before", "after")),
    error=st.sampled_from((ConnectionResetError, TimeoutError)),
)


class ShardMachine(RuleBasedStateMachine):
    """The rules. `lives` are the writers that run, each with its file; a rule lets one of them act."""

    def __init__(self, url: str, folder: Path, wire: Wire, happened: Counter[str]) -> None:
        super().__init__()
        self.url = url
        self.folder = folder
        self.wire = wire
        self.loop = asyncio.new_event_loop()
        self.oracle = Oracle()
        self.happened = happened
        self.files: list[File] = [File(0)]
        self.lives: list[tuple[Life, File]] = []
        self.sent: dict[int, list[Frame]] = {}  # by life: what has arrived and is not journaled
        self.views: dict[int, list[Frame]] = {}  # by life: what its window has seen
        self.born = 0
        self.first_seq = 0
        self.checker = self.do(wire.real_connect(url, "checker", 10))
        self.do(self.checker.execute("TRUNCATE meter_history, vehicle_history, meter_current, vehicle_current"))
        self.do(self.checker.execute("TRUNCATE shard_checkpoint, dead_letter, rollup_mark CASCADE"))
        self.do(self.checker.execute("UPDATE rollup_state SET closed_until = '-infinity'"))
        for file in folder.iterdir():
            file.unlink()

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def path(self, file: File) -> Path:
        return self.folder / f"journal-{file.number}.sqlite"

    def pick(self, number: int) -> tuple[Life, File]:
        if not self.lives:
            self._start(self.files[number % len(self.files)])
        return self.lives[number % len(self.lives)]

    # --- what a life may do -------------------------------------------------------------------------------------------

    @initialize()
    def first_life(self) -> None:
        self._start(self.files[0])

    @rule(number=which)
    def start(self, number: int) -> None:
        """A new writer: after the end of one, or beside one."""
        self._start_if(True, self.files[number % len(self.files)])

    @rule(number=which, group=groups, at_once=usually)
    def receive(self, number: int, group: list[list[Reading]], at_once: bool) -> None:
        life, file = self.pick(number)
        self._send(life, group)
        if at_once:
            self._sync(life, file)

    @rule(number=which, old=which, at_once=usually)
    def receive_again(self, number: int, old: int, at_once: bool) -> None:
        """A client that has got no answer sends the same once more."""
        life, file = self.pick(number)
        if file.frames:
            self._send(life, [file.frames[-1 - old % len(file.frames)].readings])
        if at_once:
            self._sync(life, file)

    @rule(number=which, steps=st.integers(1, 4), cut=cuts)
    def flush(self, number: int, steps: int, cut: Cut | None) -> None:
        life, file = self.pick(number)
        self.wire.cut = cut
        for _ in range(steps):
            if not self._act(life, file, life.committer.step(until_empty=True)):
                break
        self.wire.cut = None

    @rule(number=which, group=groups, at=operations, cut=cuts)
    def flush_while_more_comes(self, number: int, group: list[list[Reading]], at: str, cut: Cut | None) -> None:
        life, file = self.pick(number)
        if life.seen < len(file.frames):
            return
        self._send(life, group)
        acks = []

        async def sync() -> None:
            acks.extend(await life.sync())

        self.wire.meanwhile = (at, sync)
        self.wire.cut = cut
        alive = self._act(life, file, life.committer.step(until_empty=True), lambda: self._synced(life, file, acks))
        self.wire.cut = None
        if self.wire.meanwhile is not None:  # it was not reached
            self.wire.meanwhile = None
            if alive:
                self._sync(life, file)

    @rule(number=which)
    def prune(self, number: int) -> None:
        life, _ = self.pick(number)
        before = life.journal.oldest_seq
        self.do(life.prune())
        self.happened["pruned"] += life.journal.oldest_seq > before

    @rule(number=which, again=usually)
    def stop(self, number: int, again: bool) -> None:
        """A clean end: everything is journaled and flushed before it."""
        life, file = self.pick(number)
        if self._sync(life, file) and self._act(life, file, life.stop()):
            assert not life.has_work
            self._forget(life)
            self._start_if(again, file)

    # --- what may happen to it ----------------------------------------------------------------------------------------

    @rule(number=which, group=groups, at=st.sampled_from(("", *MOMENTS)), again=usually)
    def kill(self, number: int, group: list[list[Reading]], at: str, again: bool) -> None:
        """kill -9 between two steps, or in an append before or right after its commit, with nobody told: what was
        committed stays.
        """
        life, file = self.pick(number)
        if at and life.seen == len(file.frames):
            self._send(life, group)
            self._append_without_answer(life, at)
            file.in_doubt = self.sent[life.number]
        self._end(life)
        self._look_into(file, {at == "journal.after_commit"})
        self._start_if(again, file)

    @rule(
        number=which, group=groups, share=st.sampled_from((0.0, 0.5, 0.99, 1.0)), garbled=st.booleans(), again=usually
    )
    def power_cut(self, number: int, group: list[list[Reading]], share: float, garbled: bool, again: bool) -> None:
        """The machine of a file stops in the middle of an append: the WAL's end is torn, or there and not reported."""
        _, file = self.pick(number)
        here = [life for life, own in self.lives if own is file]
        writing = next((life for life in here if life.seen == len(file.frames)), None)
        left = read_files(self.path(file))
        if writing is not None:
            self._send(writing, group)
            moments = self._append_without_answer(writing, MOMENTS[1])
            before, after = (moments[moment] for moment in MOMENTS)
            left = tear(before, after, share, garbled)
            file.in_doubt = self.sent[writing.number]
        for life in here:
            self._end(life)
        write_files(self.path(file), left)
        self._look_into(file, {True} if share == 1.0 and not garbled else {True, False})
        self._start_if(again, file)

    @rule(number=which)
    def copy(self, number: int) -> None:
        """An operator copies a journal, with or without a writer on it."""
        file = self.files[number % len(self.files)]
        if len(self.files) < FILES_MAX:
            self.files.append(file.copy(len(self.files)))
            write_files(self.path(self.files[-1]), read_files(self.path(file)))

    @rule(number=which, group=groups)
    def stand_still(self, number: int, group: list[list[Reading]]) -> None:
        """A writer stands still until a successor has pruned the number that it would take next, and wakes up."""
        woken, file = self.pick(number)
        if woken.seen < len(file.frames):
            return
        self._start(file)
        successor, _ = self.lives[-1]
        for _ in range(4):
            self.born += 1  # no device twice, so that each frame turns the window
            self._send(successor, [[Reading(0, f"N{self.born}-{n}", DAY, 1) for n in range(WINDOW_READINGS // 2)]])
        if self._sync(successor, file) and self._flush_all(successor, file):
            self.do(successor.prune())
        if any(life is woken for life, _ in self.lives):
            self._send(woken, group)
            self._sync(woken, file)

    @rule(number=which, group=groups)
    def replace(self, number: int, group: list[list[Reading]]) -> None:
        """A successor takes over and has nothing to store yet; the writer that it replaces has more."""
        old, file = self.pick(number)
        if old.seen < len(file.frames) or not self._flush_all(old, file):
            return
        self._start(file)
        successor, _ = self.lives[-1]
        self._act(successor, file, successor.committer.step(until_empty=True))
        self._send(old, group)
        if self._sync(old, file):
            self._act(old, file, old.committer.step(until_empty=True))

    @rule(number=which, group=groups)
    def grow_unseen(self, number: int, group: list[list[Reading]]) -> None:
        """A copy is made of a journal that is in use, takes readings while PostgreSQL is away, and is started again."""
        owner, file = self.pick(number)
        if len(self.files) == FILES_MAX or owner.seen < len(file.frames):
            return
        self._flush_all(owner, file)
        self.copy(self.files.index(file))
        twin = self.files[-1]
        if any(life is owner for life, _ in self.lives):
            self._send(owner, group[:1])
            if self._sync(owner, file):
                self._flush_all(owner, file)
        for grows in (True, False):
            self._start(twin)
            life, _ = self.lives[-1]
            if grows:
                self._send(life, [*group, *group])
                self._sync(life, twin)
                self._end(life)
        self._flush_all(life, twin)

    @rule(back=st.integers(1, 3))
    def repeat_a_flush(self, back: int) -> None:
        """A flush that was committed long ago comes once more, from its rightful owner: it is refused whole."""
        owner = next((life for life, _ in self.lives if life.number == self.oracle.owner), None)
        after = len(self.oracle.committed) - back
        if owner is None or after < 0 or owner.committer.epoch != self.oracle.epoch:
            return
        self.do(self._repeat(owner, self.first_seq - 1 + after, self.first_seq - 1 + len(self.oracle.committed)))
        self._observe(None, None)

    @rule(hour=hours)
    def close(self, hour: datetime) -> None:
        """Maintenance closes hours."""
        assert self.do(self._close(hour)), "nobody holds the lock between two steps"

    @rule(number=which, group=groups, hour=hours, at=operations)
    def close_meanwhile(self, number: int, group: list[list[Reading]], hour: datetime, at: str) -> None:
        """It tries to while a life is at work: it can until a flush has the lock, and that flush then knows it."""
        life, file = self.pick(number)
        if life.seen < len(file.frames) or not self._flush_all(life, file):
            return
        self._send(life, group)
        self._sync(life, file)

        async def close() -> None:
            self.happened["closed meanwhile" if await self._close(hour) else "kept open"] += 1

        self.wire.meanwhile = (at, close)
        self._act(life, file, life.committer.step(until_empty=True))
        self.wire.meanwhile = None

    # --- how it is done -----------------------------------------------------------------------------------------------

    def _start(self, file: File) -> None:
        self.born += 1
        life = self.do(Life(self.born, self.path(file), self.url, CONFIG, WINDOW_READINGS).open())
        self.first_seq = life.first_seq
        assert life.seen == len(file.frames), "what was acknowledged is in the file, and nothing else"
        self.lives.append((life, file))
        self.sent[life.number] = []
        self.views[life.number] = list(file.frames)

    def _flush_all(self, life: Life, file: File) -> bool:
        for _ in range(10 + 3 * len(file.frames)):
            if life.is_connected and not life.has_work:
                return True
            if not self._act(life, file, life.committer.step(until_empty=True)):
                return False
        raise AssertionError("it does not come to an end")

    def _start_if(self, again: bool, file: File) -> None:
        if again and len(self.lives) < LIVES_MAX:
            self._start(file)

    def _send(self, life: Life, group: list[list[Reading]]) -> None:
        for some in group:
            frame = Frame(sorted(some, key=lambda reading: reading.kind))
            life.send(frame.lines)
            self.sent[life.number].append(frame)

    def _sync(self, life: Life, file: File) -> bool:
        """Journal what has arrived; False when the writer finds that another one has written, and ends."""
        if not self.sent[life.number]:
            return True
        try:
            acks = self.do(life.sync())
        except JournalError:
            self.happened["appends refused"] += 1
            assert life.seen < len(file.frames), "only another writer on the same file is a reason"
            self._end(life)
            return False
        assert life.seen == len(file.frames) + len(acks), "nothing is acknowledged beside what another has written"
        self._synced(life, file, acks)
        return True

    def _synced(self, life: Life, file: File, acks: list[Any]) -> None:
        frames, self.sent[life.number] = self.sent[life.number], []
        assert len(acks) == len(frames), "every frame is acknowledged"
        for ack, frame in zip(acks, frames, strict=True):
            frame.mark(ack.duplicates)
            check_marks(self.views[life.number], frame, WINDOW_READINGS // 2)
            self.views[life.number].append(frame)
            file.frames.append(frame)
            self.happened["readings"] += len(frame.readings)
            self.happened["re-sends"] += len(frame.resent)
            assert ack.seq == self.first_seq + len(file.frames) - 1

    def _act(self, life: Life, file: File, work: Any, then: Callable[[], None] | None = None) -> bool:
        """Let a life deal with PostgreSQL, and `then` note what came meanwhile. False when it ends, being fenced;
        checks that this comes where it must and only where it may.
        """
        must, may = self._fencing(life, file)
        file.tried.add(life.number)
        self.wire.life = life
        before = len(self.oracle.committed)
        fenced = False
        try:
            self.do(work)
        except FencedError:
            fenced = True
        if then is not None and self.wire.meanwhile is None:
            then()
        if fenced:
            assert may, "the rightful owner was fenced"
            self.happened["fenced"] += 1
            self._end(life)
            self._observe(None, None)
            return False
        was_cut = self.wire.cut is not None and self.wire.cut.done
        if was_cut:
            self.happened[f"cut {self.wire.cut.moment} {self.wire.cut.operation}"] += 1
            self.do(self._settle())
        assert not must or was_cut, "a writer that is not the owner must be fenced"
        self._observe(life, file)
        assert not must or len(self.oracle.committed) == before
        return True

    def _fencing(self, life: Life, file: File) -> tuple[bool, bool]:
        """Whether a life must be fenced when it turns to PostgreSQL now, and whether it may be."""
        oracle = self.oracle
        if oracle.owner == life.number:
            return False, False
        if life.committer.epoch:  # it was the owner, and learns otherwise at its next flush or connection
            return life.has_work or not life.is_connected, True
        if not oracle.continues(file.frames[: life.seen]) or oracle.owner not in {None, *file.tried}:
            return True, True
        known = oracle.owner in {None, *file.owners}
        return False, not known or len(oracle.committed) > life.opened_with

    def _append_without_answer(self, life: Life, at: str) -> dict[str, dict[str, bytes]]:
        """Append what has arrived and end at a failpoint; return the files as they were at the failpoints."""
        moments = {}

        def reach(point: str) -> None:
            moments[point] = read_files(life.path)
            if point == at:
                raise OSError("killed")

        with mock.patch.object(failpoints, "_reach", reach), pytest.raises(JournalError):
            self.do(life.sync())
        return moments

    def _look_into(self, file: File, may_be_there: set[bool]) -> None:
        """After a crash in an append: all of its group is in the file, or nothing."""
        group, file.in_doubt = file.in_doubt, []
        life = self.do(Life(0, self.path(file), self.url, CONFIG, WINDOW_READINGS).open())
        is_there = life.seen > len(file.frames)
        assert life.seen == len(file.frames) + (len(group) if is_there else 0)
        assert is_there in may_be_there or not group
        if is_there:
            first = self.first_seq + len(file.frames)
            entries = self.do(life.journal.read(first - 1, life.journal.last_seq, 1 << 30))
            for frame, entry in zip(group, entries, strict=True):
                frame.mark(entry.duplicates)
                file.frames.append(frame)
        life.die()

    def _end(self, life: Life) -> None:
        """End a process at once. Its files stay as they are, also where SQLite would tidy up at a closing in order."""
        file = next(own for other, own in self.lives if other is life)
        alone = sum(own is file for _, own in self.lives) == 1
        left = read_files(self.path(file)) if alone else None
        self._forget(life)
        life.die()
        if left is not None:
            write_files(self.path(file), left)

    def _forget(self, life: Life) -> None:
        self.lives = [(other, file) for other, file in self.lives if other is not life]
        self.wire.lose(life)

    async def _close(self, hour: datetime) -> bool:
        """Close all hours before `hour` unless a flush keeps them open."""
        async with self.checker.transaction():
            if not await self.checker.fetchval("SELECT pg_try_advisory_xact_lock(hseie_rollup_lock())"):
                return False
            await self.checker.execute("UPDATE rollup_state SET closed_until = $1", hour)
            self.oracle.closed_until = hour
            return True

    async def _repeat(self, owner: Life, after: int, last: int) -> None:
        batch = Batch()
        for seq, frame in enumerate(self.oracle.committed[after - last :], start=after + 1):
            batch.add(seq, [(part, split_lines(part.rows)) for part in parts_of(frame.lines)], {})
        connection = await self.wire.real_connect(self.url, "repeater", 10)
        try:
            await prepare(connection)
            with pytest.raises(FencedError):
                await flush(connection, batch, Ownership(owner.journal.identity.journal_id, self.oracle.epoch), after)
        finally:
            connection.terminate()

    # --- what must hold -----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait until PostgreSQL has ended what a cut connection had begun."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'hseie writer%' AND datname = $1 "
        name = self.url.rsplit("/", 1)[1]
        deadline = time.monotonic() + 60
        while await self.checker.fetchval(sql + "AND pid <> ALL($2)", name, self.wire.backends()):
            assert time.monotonic() < deadline, "a cut connection still has its backend"
            await asyncio.sleep(0.002)

    def _observe(self, life: Life | None, file: File | None) -> None:
        """Compare PostgreSQL with the oracle after `life` has acted (nobody: then nothing may have changed)."""
        checkpoint, found = self.do(self._read())
        oracle = self.oracle
        if checkpoint is None:
            assert oracle.owner is None
        else:
            self._follow(*checkpoint, life, file)
        assert found == oracle.tables()

    def _follow(self, epoch: int, last_seq: int, life: Life | None, file: File | None) -> None:
        """Let the oracle go where the checkpoint has gone, if that is allowed."""
        oracle = self.oracle
        assert epoch >= oracle.epoch, "the epoch fell"
        if epoch > oracle.epoch:
            assert life is not None
            assert file is not None
            self.happened["claims"] += 1
            oracle.epoch, oracle.owner = epoch, life.number
            file.owners.add(life.number)
        committed = last_seq - self.first_seq + 1
        assert committed >= len(oracle.committed), "the checkpoint moved backwards"
        if committed > len(oracle.committed):
            assert life is not None
            assert file is not None
            self.happened["flushes"] += 1
            assert oracle.owner == life.number, "a writer has stored that is not the owner"
            assert oracle.continues(file.frames), "acknowledged frames were passed over"
            oracle.commit(file.frames[len(oracle.committed) : committed])
            assert len(oracle.committed) == committed, "stored what is not in the journal"
        for other, own in self.lives:
            if oracle.continues(own.frames):
                assert other.told_committed <= last_seq, "told of a commit that is not there"

    async def _read(self) -> tuple[Any, Tables]:
        """The checkpoint and what the tables hold, all at one moment."""
        row = await self.checker.fetchrow(READ)
        found = Tables([], [], [], {})
        for name in KIND_NAMES:
            found.history.append([tuple(reading) for reading in row[f"{name}_history"]])
            found.current.append({state[0]: tuple(state) for state in row[f"{name}_current"]})
            found.parked.append(Counter(row[f"{name}_parked"]))
        found.books = {kind: tuple(counts) for kind, *counts in row["books"]}
        found.marks = {tuple(mark) for mark in row["marks"]}
        return (row["checkpoint"] or [None])[0], found

    def teardown(self) -> None:
        """Bring everything that was acknowledged into PostgreSQL, by one more life on the rightful file."""
        try:
            for life, _ in list(self.lives):
                self._end(life)
            if sys.exc_info()[0] is None:
                self._drain()
        finally:
            for life, _ in list(self.lives):
                self._end(life)
            self.checker.terminate()
            self.do(asyncio.sleep(0))
            self.do(self.loop.shutdown_default_executor())
            self.loop.close()

    def _drain(self) -> None:
        self.wire.cut = None
        rightful = [
            file
            for file in self.files
            if self.oracle.continues(file.frames) and self.oracle.owner in {None, *file.owners}
        ]
        file = rightful[0]
        self._start(file)
        life, _ = self.lives[-1]
        assert self._flush_all(life, file)
        assert len(self.oracle.committed) == len(file.frames), "not everything acknowledged is in PostgreSQL"


def explore(url: str, folder: Path, wire: Wire, examples: int, number: int, happened: Counter[str]) -> None:
    """Let hypothesis play the machine; a failure prints the shortest steps that it finds."""

    def machine() -> ShardMachine:
        return ShardMachine(url, folder, wire, happened)

    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(900 + 180 * MINUTES)
def test_every_reading_is_stored_exactly_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(database.connect)
    monkeypatch.setattr(database, "connect", wire.connect)
    monkeypatch.setattr("hseie.writer.service._PRUNE_EVERY_S", 0)
    monkeypatch.setattr("hseie.writer.pace._BACKOFF_MIN_S", 0.0)
    monkeypatch.setattr("hseie.writer.pending._READ_BYTES_MAX", 400)  # a few frames at a time
    monkeypatch.setattr("hseie.writer.journal._COPY_BACK_BYTES", 60_000)  # after every few appends
    monkeypatch.setattr("hseie.writer.journal._WAL_PAGES_MAX", 4)

    async def refuse_a_value() -> None:
        connection = await wire.real_connect(database_url, "tests", 10)
        for kind, value in ENERGY.items():
            await connection.execute(
                f"ALTER TABLE {kind}_history ADD CONSTRAINT refused CHECK ({value} <> {REFUSED_KWH})"
            )
        await connection.close()

    asyncio.run(refuse_a_value())
    number = int(os.environ.get("HSEIE_TEST_SEED") or random.randrange(1_000_000))
    deadline = time.monotonic() + 60 * MINUTES
    happened: Counter[str] = Counter()
    while True:
        print(f"HSEIE_TEST_SEED={number}")
        explore(database_url, tmp_path, wire, EXAMPLES, number, happened)
        print(dict(happened))
        number += 1
        if time.monotonic() >= deadline:
            return
