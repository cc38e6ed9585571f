"""The limits between an acceptor's socket and PostgreSQL, reached one by one: what is refused, how, and until when."""

import asyncio
import gc
import shutil
import socket
import tempfile
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from hseie import failpoints
from hseie.acceptor.collector import WriterLink
from hseie.acceptor.tickets import Receipt, Refusal, Ticket
from hseie.config_load import load
from hseie.frames import REFUSED, Ack, Frame, Part, encode, encode_acks
from hseie.writer.batch import split_lines
from hseie.writer.committer import Committer
from hseie.writer.disk import FreeSpace
from hseie.writer.journal import Entry, Journal
from hseie.writer.pending import Pending
from tests.integration.shard_entrance import ROW, Acceptor, Writer

MIB = 1 << 20


@pytest.fixture
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hseie-"))  # pytest's own folders are too long for sockets
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def slow_sync() -> Iterator[float]:
    """The next group of the journal takes this many seconds."""
    failpoints.arm("writer-0", {"HSEIE_FAIL": "journal.before_commit:sleep=2.5"})
    yield 2.5
    failpoints.arm("writer-0", {})


def row(number: int) -> str:
    return ROW.replace("A", f"M{number:06d}")


def link_of(bytes_max: int = MIB) -> WriterLink:
    """A link whose writer takes everything and answers nothing."""
    link = WriterLink(0, 8, bytes_max, ack_timeout_s=1.0, shards=1)
    link.send = lambda body: True
    link._welcome(boot=1)
    return link


async def sent(link: WriterLink, *rows: str) -> Ticket | Refusal:
    ticket = link.add(0, list(rows), False)
    await asyncio.sleep(0.01)
    return ticket


# --- acceptor ---------------------------------------------------------------------------------------------------------


async def test_bytes_under_way_count_and_come_back_with_the_acknowledgement() -> None:
    link = link_of(bytes_max=3 * len(ROW))
    for _ in range(3):
        assert isinstance(await sent(link, ROW), Ticket)
    assert (link.frames_in_flight, link.waiting_bytes, link.in_flight_bytes) == (3, 0, 3 * len(ROW))
    refusal = await sent(link, ROW)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "overloaded"
    link.on_message(encode_acks(1, [Ack(1, 100, {})]))
    assert isinstance(await sent(link, ROW), Ticket)
    link.on_message(encode(REFUSED, 1, 2, "journal_full", 7.5))
    assert isinstance(await sent(link, ROW), Ticket)
    assert (await sent(link, ROW)).code == "overloaded"


async def test_no_ending_of_a_frame_keeps_its_bytes() -> None:
    link = link_of()
    await sent(link, ROW)
    link.sweep(time.monotonic() + 4.5, 30)  # given up
    assert link.in_flight_bytes == 0
    await sent(link, ROW)
    link._welcome(boot=2)  # its writer is gone
    assert link.in_flight_bytes == 0
    link.send = lambda body: False
    ticket = await sent(link, ROW)
    assert await ticket.frame.outcome == Refusal("writer_unavailable")
    assert (link.in_flight_bytes, link.waiting_bytes) == (0, 0)


async def test_an_overloaded_link_tells_how_long_its_backlog_takes() -> None:
    link = link_of(bytes_max=100 * len(ROW))
    begin = time.monotonic()
    for number in range(8):
        await sent(link, *[ROW] * 10)
        link.on_message(encode_acks(1, [Ack(number + 1, number, {})]))
        link.sweep(begin + number, 30)
    assert link.backlog_s == 0  # nothing is in the way
    await sent(link, *[ROW] * 40)
    rows_a_second = 10
    assert link.backlog_s == pytest.approx(1.0)  # 4 s at that rate, but nobody waits longer than the ack time-out
    link._ack_timeout_s = 30
    assert link.backlog_s == pytest.approx(40 / rows_a_second, rel=0.2)
    refusal = link.add(0, [ROW] * 70, False)
    assert refusal == Refusal("overloaded", link.backlog_s)


async def test_a_writers_estimate_reaches_the_request() -> None:
    link = link_of()
    ticket = await sent(link, ROW)
    link.on_message(encode(REFUSED, 1, 1, "journal_full", 7.5))
    assert await ticket.frame.outcome == Refusal("journal_full", 7.5)


async def test_commits_behind_one_that_is_waited_for_are_forgotten_too() -> None:
    link = link_of()
    first = link.add(0, [ROW], True)
    await asyncio.sleep(0.01)
    link.on_message(encode_acks(1, [Ack(1, 1, {})]))
    for number in range(2, 52):
        late = link.add(0, [ROW], True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        link.on_message(encode_acks(1, [Ack(number, number, {})]))
        late.frame.waiting -= 1  # its client has gone
    assert link.frames_to_commit == 51
    link.sweep(time.monotonic(), 30)
    assert link.frames_to_commit == 1
    assert first.frame.committed is not None
    assert not first.frame.committed.done()


# --- writer -----------------------------------------------------------------------------------------------------------


class Pair:
    """A writer with limits and an acceptor."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    async def open(self, *, in_flight: int = 8, **limits: float) -> "Pair":
        self.writer = await Writer(self._run_dir, **limits).start()
        self.acceptor = Acceptor(self._run_dir, in_flight)
        await self.acceptor.heard()
        return self

    async def outcome(self, number: int) -> Receipt | Refusal:
        ticket = self.acceptor.link.add(0, [row(number)], False)
        assert isinstance(ticket, Ticket)
        return await asyncio.wait_for(ticket.frame.outcome, 10)

    async def close(self) -> None:
        self.acceptor.close()
        await self.writer.stop()


@pytest.fixture
async def pair(run_dir: Path) -> AsyncIterator[Pair]:
    pair = Pair(run_dir)
    yield pair
    await pair.close()


async def test_a_full_journal_takes_again_below_its_low_water_mark(pair: Pair) -> None:
    await pair.open(journal_bytes_max=3000, journal_low_water_pct=50)
    intake, journal = pair.writer.intake, pair.writer.journal
    numbers = iter(range(1000))
    assert intake.journal_state(time.monotonic()) == "ok"
    while isinstance(outcome := await pair.outcome(next(numbers)), Receipt):
        assert journal.bytes < 4000
    assert outcome == Refusal("journal_full", 30.0)  # nobody knows yet how fast it drains
    assert intake.journal_state(time.monotonic()) == "full"
    frame = journal.bytes // (journal.last_seq - journal.oldest_seq + 1)
    # A little room is not enough ...
    await journal.prune(journal.oldest_seq + 3)
    assert journal.bytes < 3000 - 2 * frame
    intake.draining_rate.note(0, 100.0)
    intake.draining_rate.note(400, 101.0)
    outcome = await pair.outcome(next(numbers))
    assert isinstance(outcome, Refusal)
    assert outcome.code == "journal_full"
    assert outcome.retry_s == pytest.approx((journal.bytes - 1500) / 400)  # ... and now it is known
    # ... half of it is.
    while journal.bytes >= 1500:
        await journal.prune(journal.oldest_seq)
    assert isinstance(await pair.outcome(next(numbers)), Receipt)
    assert intake.journal_state(time.monotonic()) == "ok"


async def test_a_disk_that_is_nearly_full_refuses_and_recovers(pair: Pair) -> None:
    await pair.open(disk_free_bytes_min=256 * MIB)
    writer = pair.writer
    assert isinstance(await pair.outcome(1), Receipt)  # nobody has looked yet
    for free, taken in ((255, False), (300, False), (330, True), (257, True), (100, False)):
        writer.free_space.bytes = free * MIB
        last = writer.journal.last_seq
        outcome = await pair.outcome(1000 + free)
        assert isinstance(outcome, Receipt) == taken, free
        assert writer.intake.journal_state(time.monotonic()) == ("ok" if taken else "disk_full")
        if not taken:
            assert outcome == Refusal("disk_full")
            assert writer.journal.last_seq == last
    assert writer.intake.frames_refused == {"disk_full": 3}


async def test_while_a_sync_hangs_nothing_is_acknowledged_and_memory_is_bounded(pair: Pair, slow_sync: float) -> None:
    size = len(Frame(1 << 52, 1, False, (Part(0, 1, row(0).encode()),)).encode())
    await pair.open(in_flight=100, gathering_bytes_max=10 * size, ack_timeout_s=1.8)
    intake, journal, link = pair.writer.intake, pair.writer.journal, pair.acceptor.link
    last, heard_at = journal.last_seq, link.heard_at
    began = time.monotonic()
    posts = []
    for number in range(40):  # a frame each: acceptors that send more than they may
        posts.append(asyncio.ensure_future(pair.outcome(number)))
        await asyncio.sleep(0.01)
    stalled, seen = 0.0, set()
    while journal.last_seq == last:
        assert not [post for post in posts if post.done() and isinstance(post.result(), Receipt)]
        assert intake.gathering_bytes <= 11 * size
        seen.add(intake.journal_state(time.monotonic()))
        before = time.monotonic()
        await asyncio.sleep(0.02)
        stalled = max(stalled, time.monotonic() - before)
    print(f"the loop stood still for {stalled * 1000:.0f} ms at most")
    assert time.monotonic() - began >= slow_sync
    assert stalled < slow_sync / 2  # the loop does not wait for the disk
    assert link.heard_at > heard_at + 1  # and answered signs of life
    assert {"slow", "stuck"} <= seen
    outcomes = await asyncio.gather(*posts)
    taken = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert {refusal.code for refusal in refused} == {"overloaded"}
    assert 10 <= len(taken) <= 13
    assert journal.last_seq == last + len(taken)
    assert intake.sync_times.last_s < slow_sync  # of the group that had gathered: by itself all is well again
    assert isinstance(await pair.outcome(1000), Receipt)
    assert intake.gathering_bytes == 0


async def test_former_lives_of_acceptors_do_not_add_up(pair: Pair) -> None:
    await pair.open()
    intake = pair.writer.intake
    for number in range(5000):
        intake._note_waiter(b"steady", number)
        intake._note_waiter(f"life-{number}".encode(), number)
    assert len(intake._waiters) <= 1024
    assert intake._waiters[b"steady"] == 4999


# --- disk -------------------------------------------------------------------------------------------------------------


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_free_space_is_the_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.writer.disk.LOOK_EVERY_S", 0.01)
    space = FreeSpace(tmp_path, structlog.get_logger())
    task = asyncio.ensure_future(space.watch())
    await until(lambda: space.bytes is not None)
    free = shutil.disk_usage(tmp_path).free
    assert space.bytes is not None
    assert abs(space.bytes - free) < max(1 << 30, free // 4)  # others write to it too
    task.cancel()


async def test_a_question_that_hangs_or_fails_leaves_the_last_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.writer.disk.LOOK_EVERY_S", 0.01)
    answers: list[int | OSError] = [OSError(5, "gone"), OSError(5, "gone"), 1000]
    hang, asked = threading.Event(), 0

    def ask(folder: Path) -> int:
        nonlocal asked
        asked += 1
        if not answers:
            hang.wait(30)
            return 2000
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    space = FreeSpace(tmp_path, structlog.get_logger())
    space._ask = ask
    with capture_logs() as logs:
        task = asyncio.ensure_future(space.watch())
        await until(lambda: asked == 4)
    assert space.bytes == 1000
    assert [line["event"] for line in logs] == ["free_space_unknown"]
    before = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - before < 10  # it is not the loop that waits
    assert (space.bytes, asked) == (1000, 4)
    hang.set()
    await until(lambda: space.bytes == 2000)
    task.cancel()


# --- PostgreSQL away --------------------------------------------------------------------------------------------------


async def test_memory_is_flat_while_postgresql_is_away(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"postgresql://nobody@127.0.0.1:{unused.getsockname()[1]}/nothing"
        config = load(overrides={"writer.pending_bytes_max": MIB}).config
        journal = await Journal.open(tmp_path / "journal.sqlite", 0, 1)
        pending = Pending(journal, config.writer.pending_bytes_max)
        committer = Committer(journal, pending, config, url, structlog.get_logger(), lambda seq: None)
        running = asyncio.ensure_future(committer.run())
        held = []
        tracemalloc.start()
        for group in range(40):  # 16 MiB of rows
            rows = "".join([row(group * 10_000 + number) for number in range(10_000)]).encode()
            part = Part(0, 10_000, rows)
            seq = await journal.append([Entry(rows, {0: 10_000}, {})])
            pending.add(seq, [(part, split_lines(rows))], {})
            committer.arrived(False)
            held.append(pending.held_bytes)
            if group == 10:
                gc.collect()
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert committer.database == "away"
        committer.drain()
        await running
        await journal.close()
    print(f"journal {journal.bytes / MIB:.0f} MiB, memory grew by {(peak - before) / MIB:.1f} MiB")
    assert journal.bytes > 15 * MIB
    assert max(held) <= MIB
    assert peak - before < 12 * MIB  # one group with its lines
    assert sum(pending.waiting) == 400_000
