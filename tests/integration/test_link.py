"""Acceptor and writer over real sockets: shared frames, acknowledgements, lost writers, limits."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import zmq

from hseie.acceptor.collector import WriterLink
from hseie.acceptor.tickets import Receipt, Refusal, Ticket
from hseie.bus import Dealer, ipc_endpoint
from hseie.frames import HELLO, WELCOME, Frame, Part, encode
from tests.integration.shard_entrance import MESSAGE_BYTES_MAX, ROW, Acceptor, Writer


@pytest.fixture
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hseie-"))  # pytest's own folders are too long for sockets
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def writer(run_dir: Path) -> AsyncIterator[Writer]:
    writer = await Writer(run_dir).start()
    yield writer
    await writer.stop()


@pytest.fixture
async def acceptor(run_dir: Path, writer: Writer) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(run_dir)
    await acceptor.heard()
    yield acceptor
    acceptor.close()


async def test_what_is_acknowledged_is_in_the_journal(writer: Writer, acceptor: Acceptor) -> None:
    receipt = await acceptor.post(ROW)
    assert isinstance(receipt, Receipt)
    assert writer.journal.last_seq == receipt.seq
    [entry] = await writer.journal.read(receipt.seq - 1, receipt.seq, 1 << 20)
    assert ROW.encode() in entry.body
    assert writer.pending.waiting == [1, 0]


async def test_requests_of_one_turn_share_a_frame(writer: Writer, acceptor: Acceptor) -> None:
    rows = [ROW.replace("A", f"M{number}") for number in range(50)]
    receipts = await asyncio.gather(*(acceptor.post(row) for row in rows))
    assert len({receipt.seq for receipt in receipts}) == 1
    assert writer.intake.frames == 1


async def test_frames_beyond_the_limit_wait_and_grow(run_dir: Path, writer: Writer) -> None:
    acceptor = Acceptor(run_dir, in_flight=1)
    await acceptor.heard()
    posts = []
    for number in range(30):
        posts.append(asyncio.ensure_future(acceptor.post(ROW.replace("A", f"M{number}"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert acceptor.link.frames_in_flight <= 1
    receipts = await asyncio.gather(*posts)
    acceptor.close()
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    assert len({receipt.seq for receipt in receipts}) < 30


async def test_bytes_that_wait_have_a_limit(run_dir: Path) -> None:
    acceptor = Acceptor(run_dir, bytes_max=3 * len(ROW))
    acceptor.link.boot = 1  # a writer that takes nothing
    acceptor.link.send = lambda body: False
    assert [isinstance(acceptor.link.add(0, [ROW], False), Ticket) for _ in range(4)] == [True, True, True, False]
    assert await acceptor.post(ROW) == "overloaded"
    acceptor.close()


async def test_re_sends_are_told_to_the_request_they_came_with(acceptor: Acceptor) -> None:
    other = ROW.replace("A", "B")
    await acceptor.post(ROW)
    first, second = acceptor.link.add(0, [other], False), acceptor.link.add(0, [ROW, other], False)
    receipt = await first.frame.outcome
    assert receipt.duplicates_between(0, first.start, first.start + first.count) == 0
    assert receipt.duplicates_between(0, second.start, second.start + second.count) == 2


async def test_an_unreachable_writer_is_said_at_once(run_dir: Path) -> None:
    acceptor = Acceptor(run_dir)
    assert await acceptor.post(ROW) == "writer_unavailable"
    acceptor.close()


async def test_a_full_journal_refuses_and_keeps_what_it_acknowledged(run_dir: Path) -> None:
    writer = await Writer(run_dir, journal_bytes_max=200).start()
    acceptor = Acceptor(run_dir)
    await acceptor.heard()
    outcomes = [await acceptor.post(ROW.replace("A", f"M{number}")) for number in range(10)]
    kept = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert 0 < len(kept) < 10
    assert outcomes[-1] == "journal_full"
    assert writer.journal.last_seq == kept[-1].seq
    acceptor.close()
    await writer.stop()


async def test_a_draining_writer_refuses(writer: Writer, acceptor: Acceptor) -> None:
    writer.intake.drain()
    assert await acceptor.post(ROW) == "draining"


async def test_a_new_life_of_the_writer_is_noticed_and_served(
    run_dir: Path, writer: Writer, acceptor: Acceptor
) -> None:
    first = await acceptor.post(ROW)
    boot = acceptor.link.boot
    await writer.stop()
    again = await Writer(run_dir).start()
    async with asyncio.timeout(10):
        while acceptor.link.boot == boot:
            await asyncio.sleep(0.01)
    second = await acceptor.post(ROW.replace("A", "B"))
    assert second.seq > first.seq
    await again.stop()


async def test_a_frame_for_a_former_life_is_not_taken(run_dir: Path, writer: Writer, acceptor: Acceptor) -> None:
    acceptor.link.boot = 12345  # what it would still believe right after a restart
    acceptor.link.sweep = lambda now, silence_max_s: None
    last = writer.journal.last_seq
    assert await acceptor.post(ROW) == "writer_unavailable"
    assert writer.journal.last_seq == last
    await acceptor.heard()
    assert acceptor.link.boot == writer.intake.boot  # the refusal had it ask


async def test_a_writer_of_another_number_of_shards_gets_nothing(run_dir: Path, writer: Writer) -> None:
    acceptor = Acceptor(run_dir, shards=2)  # as it is for a while when a running node gets another number of shards
    last = writer.journal.last_seq
    async with asyncio.timeout(10):
        while acceptor.link.strangers < 3:
            assert await acceptor.post(ROW) == "writer_unavailable"
            await asyncio.sleep(0.01)
    assert acceptor.link.boot is None
    assert writer.journal.last_seq == last
    acceptor.close()


async def test_not_even_after_a_refusal(run_dir: Path, writer: Writer) -> None:
    acceptor = Acceptor(run_dir, shards=2)
    acceptor.link.sweep = lambda now, silence_max_s: None
    async with asyncio.timeout(10):  # until it is connected
        acceptor.link.boot = 12345  # the writer that was there before
        while await acceptor.post(ROW) == "writer_unavailable" and writer.intake.frames_refused == 0:
            acceptor.link.boot = 12345
            await asyncio.sleep(0.01)
    last = writer.journal.last_seq
    for _ in range(20):
        assert await acceptor.post(ROW) == "writer_unavailable"
        await asyncio.sleep(0.01)
    assert writer.journal.last_seq == last
    assert acceptor.link.strangers > 0
    acceptor.close()


@pytest.mark.parametrize(("shard", "shards"), [(0, 3), (1, 2), (1, 3)])
async def test_who_is_not_ours_ends_what_was_under_way_to_ours(
    shard: int, shards: int, capsys: pytest.CaptureFixture[str]
) -> None:
    link = WriterLink(0, 8, 1 << 20, 30, shards=2)
    link.send = lambda body: True
    link.on_message(encode(WELCOME, 1, 0, 2))
    ticket = link.add(0, [ROW], False)
    assert isinstance(ticket, Ticket)
    await asyncio.sleep(0.01)
    for _ in range(2):
        link.on_message(encode(WELCOME, 2, shard, shards))
    assert await ticket.frame.outcome == Refusal("writer_unavailable")
    assert link.add(0, [ROW], False) == Refusal("writer_unavailable")
    assert link.strangers == 2
    said = capsys.readouterr()
    assert (said.out + said.err).count("writer_of_other_shards") == 1  # once, not at each sign of life
    link.on_message(encode(WELCOME, 3, 0, 2))
    assert isinstance(link.add(0, [ROW], False), Ticket)


async def test_frames_under_way_to_a_lost_writer_end_as_unknown(run_dir: Path) -> None:
    link = WriterLink(0, 8, 1 << 20, 30, shards=1)
    link.send = lambda body: True
    link._welcome(boot=1)
    ticket = link.add(0, [ROW], False)
    await asyncio.sleep(0.01)
    link._welcome(boot=2)
    assert await ticket.frame.outcome == Refusal("writer_unavailable")


async def test_an_acknowledgement_that_takes_too_long_is_given_up(run_dir: Path) -> None:
    link = WriterLink(0, 8, 1 << 20, ack_timeout_s=1.0, shards=1)
    link.send = lambda body: True
    link._welcome(boot=1)
    ticket = link.add(0, [ROW], False)
    await asyncio.sleep(0.01)
    link.sweep(time.monotonic() + 0.5, 30)
    assert not ticket.frame.outcome.done()
    link.sweep(time.monotonic() + 1.5, 30)
    assert await ticket.frame.outcome == Refusal("ack_timeout")
    assert link.frames_in_flight == 1  # the writer may still have it before it


async def test_those_who_wait_are_told_of_the_commit(writer: Writer, acceptor: Acceptor) -> None:
    ticket = acceptor.link.add(0, [ROW], True)
    receipt = await ticket.frame.outcome
    assert not ticket.frame.committed.done()
    writer.intake.committed(receipt.seq - 1)
    await asyncio.sleep(0.05)
    assert not ticket.frame.committed.done()
    writer.intake.committed(receipt.seq)
    await asyncio.wait_for(ticket.frame.committed, 10)


async def test_commits_nobody_waits_for_are_forgotten(writer: Writer, acceptor: Acceptor) -> None:
    acceptor.task.cancel()  # swept by hand
    tickets = [acceptor.link.add(0, [ROW], True), acceptor.link.add(0, [ROW], True)]
    await asyncio.sleep(0.05)
    for number in range(5):
        late = acceptor.link.add(0, [ROW.replace("A", f"M{number}")], True)
        late.frame.waiting -= 1  # its time was up
        await late.frame.outcome
    assert acceptor.link.frames_to_commit == 6
    assert len(writer.intake._waiters) == 1
    for ticket in tickets:
        ticket.frame.waiting -= 1
    acceptor.link.sweep(time.monotonic(), 30)
    assert acceptor.link.frames_to_commit == 0


async def test_garbage_on_the_socket_is_refused_and_counted(run_dir: Path, writer: Writer, acceptor: Acceptor) -> None:
    context = zmq.Context.instance()
    with context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 1000)
        stranger.connect(ipc_endpoint(run_dir, "writer-0"))
        good = Frame(writer.intake.boot, 1, False, (Part(0, 1, ROW.encode()),)).encode()
        for body in (b"", b"\xc1", b"x" * 100, encode(99), encode(HELLO)[:-1] + b"\xff" * 3, good[:-3]):
            stranger.send(body)
        stranger.send_multipart([b"two", b"parts"])
        async with asyncio.timeout(10):
            while writer.router.refused < 6:
                await asyncio.sleep(0.01)
    assert isinstance(await acceptor.post(ROW), Receipt)


async def test_a_bug_met_in_one_message_does_not_stop_those_behind_it(
    writer: Writer, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, failures = writer.intake._take, [1, 2, 3]

    def fail_first(*arguments: object) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("a bug")
        take(*arguments)

    monkeypatch.setattr(writer.intake, "_take", fail_first)
    posts = [acceptor.link.add(0, [ROW], False)]
    await asyncio.sleep(0.05)
    for number in range(3):
        posts.append(acceptor.link.add(0, [ROW.replace("A", f"M{number}")], False))
        await asyncio.sleep(0.01)
    assert isinstance(await asyncio.wait_for(posts[-1].frame.outcome, 10), Receipt)
    assert writer.router.refused == 3


async def test_what_could_not_be_sent_is_counted(run_dir: Path) -> None:
    lonely = Dealer(ipc_endpoint(run_dir, "writer-7"), lambda body: None, message_bytes_max=MESSAGE_BYTES_MAX)
    assert not lonely.send(b"is anybody there?")
    assert lonely.unsent == 1
    lonely.close()


async def test_frames_and_their_refusals_are_counted(writer: Writer, acceptor: Acceptor) -> None:
    assert isinstance(await acceptor.post(ROW), Receipt)
    writer.intake.drain()
    assert await acceptor.post(ROW) == "draining"
    assert acceptor.link.frames_sent == 2
    assert sum(acceptor.link.ack_seconds.counts) == 1
    assert writer.intake.frames_refused == {"draining": 1}
    assert sum(writer.journal.sync_seconds.counts) == 1


async def test_a_silent_writer_counts_as_away_until_it_is_heard(run_dir: Path) -> None:
    link = WriterLink(0, 8, 1 << 20, ack_timeout_s=30, shards=1)
    link.send = lambda body: True
    link._welcome(boot=1)
    link.sweep(time.monotonic() + 2.5, silence_max_s=3.0)
    assert isinstance(link.add(0, [ROW], False), Ticket)
    link.sweep(time.monotonic() + 3.5, silence_max_s=3.0)
    assert link.add(0, [ROW], False) == Refusal("writer_unavailable")
    link._welcome(boot=1)
    assert isinstance(link.add(0, [ROW], False), Ticket)


async def test_a_place_whose_acknowledgement_was_lost_comes_back(run_dir: Path) -> None:
    link = WriterLink(0, 1, 1 << 20, ack_timeout_s=1.0, shards=1)
    link.send = lambda body: True
    link._welcome(boot=1)
    link.add(0, [ROW], False)
    await asyncio.sleep(0.01)
    assert link.frames_in_flight == 1
    link.sweep(time.monotonic() + 4.5, 30)
    assert link.frames_in_flight == 0


async def test_a_broken_journal_acknowledges_nothing(writer: Writer, acceptor: Acceptor) -> None:
    writer.journal._writer.execute("DROP TABLE frame")
    post = asyncio.ensure_future(acceptor.post(ROW))
    with pytest.raises(Exception, match="no such table"):
        await writer.task
    assert not post.done()
    post.cancel()
