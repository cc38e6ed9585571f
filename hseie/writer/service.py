"""The writer process of one shard: wires intake, journal, pending frames and committer, and nothing else."""

import asyncio
import time
from pathlib import Path
from typing import Any

from hseie import failpoints
from hseie.bus import Router, ipc_endpoint
from hseie.config import Config
from hseie.errors import LostJournalError
from hseie.frames import decode, parse_frame, shard_of
from hseie.journal_file import shard_in
from hseie.process import Child
from hseie.readings import KINDS
from hseie.writer.batch import split_lines
from hseie.writer.committer import Committer
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.disk import FreeSpace
from hseie.writer.intake import Intake
from hseie.writer.journal import Journal, journal_path
from hseie.writer.pending import Pending
from hseie.writer.reshard import remove_journal, stale_journals
from hseie.writer.room import Limits

_READ_BYTES = 1 << 20
_PRUNE_EVERY_S = 2.0
_WATCH_EVERY_S = 1.0
_JOURNAL_SHARE_OF_WINDOW = 4  # a quarter of the journal may be frames that only the dedupe window needs


async def serve(child: Child, config: Config, postgres_url: str, shard: int) -> None:
    """Be the writer of `shard` until told to stop.

    Raises JournalError, FencedError and LostJournalError, which end the process.
    """
    failpoints.reach("writer.start")
    folder = config.data_dir / "journal"
    path = journal_path(folder, shard, config.writer.shards)
    journal = await Journal.open(path, shard, config.writer.shards)
    if (await journal.facts()).get("drained_at"):
        await journal.note("drained_at", "")  # in use again, after another number of shards
    ingest = config.ingest
    dedupe = DedupeWindow(
        ingest.dedupe_window_s,
        ingest.dedupe_readings_max,
        config.writer.journal_bytes_max // _JOURNAL_SHARE_OF_WINDOW,
        time.monotonic(),
    )
    await _borrow_windows(dedupe, folder, shard, config.writer.shards, journal.oldest_seq)
    await _rebuild_window(dedupe, journal)

    pending = Pending(journal, config.writer.pending_bytes_max)
    await pending.restart_after(journal.oldest_seq - 1)  # until the checkpoint tells more exactly
    committer = Committer(
        journal, pending, config, postgres_url, child.log, lambda seq: intake.committed(seq, committer.parked)
    )
    free_space = FreeSpace(folder, child.log)
    intake = Intake(journal, dedupe, pending, _limits(config), free_space, committer.arrived)
    router = Router(
        ipc_endpoint(child.run_dir, child.name), intake.on_message, message_bytes_max=4 * ingest.frame_bytes_max
    )
    intake.send = router.send
    bounds = _bounds(config)
    child.report = lambda: {
        **_report(shard, journal, dedupe, pending, committer, intake, router, bounds),
        **_disk_figures(intake, free_space),
    }
    refused = False
    try:
        await _run(child, journal, dedupe, intake, committer, free_space)
    except* LostJournalError:
        refused = True
        raise
    finally:
        router.close()
        await _close(journal, path, refused)


def _limits(config: Config) -> Limits:
    writer = config.writer
    return Limits(
        writer.journal_bytes_max,
        writer.journal_low_water_pct,
        writer.disk_free_bytes_min,
        writer.gathering_bytes_max,
        config.ingest.ack_timeout_ms / 1000,
    )


async def _run(
    child: Child,
    journal: Journal,
    dedupe: DedupeWindow,
    intake: Intake,
    committer: Committer,
    free_space: FreeSpace,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(intake.run())
        tasks.create_task(committer.run())
        keeping = (
            tasks.create_task(_prune(journal, dedupe, committer)),
            tasks.create_task(_watch(child.log, journal, intake)),
            tasks.create_task(free_space.watch()),
        )
        if "claimed_at" not in await journal.facts():
            # PostgreSQL, if it is there, may refuse a new journal; no reading shall be acknowledged before that.
            await committer.tried.wait()
        child.log.info("writer_ready", shard=journal.identity.shard, last_seq=journal.last_seq, remembered=len(dedupe))
        child.ready()
        await child.stopping.wait()
        # First nothing more comes in, then what came is flushed: the last group is acknowledged before that.
        intake.drain()
        await taking
        committer.drain()
        for task in keeping:
            task.cancel()


async def _close(journal: Journal, path: Path, refused: bool) -> None:
    """Close the journal. One that holds nothing and is not PostgreSQL's either is removed.

    It would lie in the way of the one that is brought back after a start that was `refused` for its sake.
    """
    empty = not journal.broken and journal.last_seq < journal.identity.first_seq
    useless = empty and (refused or "owners" not in await journal.facts())  # noted before the first claim
    await journal.close()
    if useless:
        remove_journal(path)


async def _rebuild_window(dedupe: DedupeWindow, journal: Journal) -> None:
    """Remember all lines that the journal still holds: it keeps frames for as long as the window needs them."""
    now = time.monotonic()
    async for seq, size, kind, lines in _lines(journal):
        dedupe.turn(seq, size, now)
        dedupe.remember(kind, lines)


async def _borrow_windows(dedupe: DedupeWindow, folder: Path, shard: int, shards: int, first_seq: int) -> None:
    """Remember this shard's lines of journals that another number of shards left behind."""
    now = time.monotonic()
    for path in stale_journals(folder, shards):
        other = await Journal.open(path, *shard_in(path))
        try:
            async for _, _, kind, lines in _lines(other):
                dedupe.turn(first_seq, 0, now)  # only so that the limit on readings holds
                mine = [line for line in lines if shard_of(line.split(b"\t", 1)[0].decode(), shards) == shard]
                dedupe.remember(kind, mine)
        finally:
            await other.close()


async def _lines(journal: Journal) -> Any:
    """Yield (sequence, bytes of the frame, kind, lines) of all that a journal holds."""
    position = journal.oldest_seq - 1
    while entries := await journal.read(position, journal.last_seq, _READ_BYTES):
        for entry in entries:
            position += 1
            for part in parse_frame(decode(entry.body)).parts:
                yield position, len(entry.body), part.kind, split_lines(part.rows)


async def _prune(journal: Journal, dedupe: DedupeWindow, committer: Committer) -> None:
    """Remove from the journal what is committed and outside the dedupe window, and give its room back."""
    while True:
        await asyncio.sleep(_PRUNE_EVERY_S)
        needed = dedupe.first_seq
        up_to = committer.committed_seq if needed is None else min(committer.committed_seq, needed - 1)
        if up_to >= journal.oldest_seq:
            await journal.prune(up_to)
        await journal.give_back()


async def _watch(log: Any, journal: Journal, intake: Intake) -> None:
    """Measure how fast the journal drains, and say in the log when it begins or ceases to refuse or to be slow."""
    told = "ok"
    while True:
        now = time.monotonic()
        intake.draining_rate.note(journal.pruned_bytes, now)
        state = intake.journal_state(now)
        if state != told:
            if state == "ok":
                log.info("journal_well", after=told)
            else:
                log.warning("journal_limited", state=state, before=told, advice="see `hseie status`")
            told = state
        await asyncio.sleep(_WATCH_EVERY_S)


def _bounds(config: Config) -> dict[str, int]:
    """What a report's figures are to be compared with."""
    return {
        "journal_bytes": config.writer.journal_bytes_max,
        "journal_low_water_bytes": config.writer.journal_bytes_max * config.writer.journal_low_water_pct // 100,
        "disk_free_bytes": config.writer.disk_free_bytes_min,
        "gathering_bytes": config.writer.gathering_bytes_max,
        "pending_bytes": config.writer.pending_bytes_max,
        "state_devices": config.writer.state_devices_max,
        "dead_letters": config.writer.dead_letters_max,
        "dedupe_readings": config.ingest.dedupe_readings_max,
        "dedupe_window_s": config.ingest.dedupe_window_s,
        "flush_timeout_ms": config.postgres.flush_timeout_ms,
        "lock_timeout_ms": config.postgres.lock_timeout_ms,
    }


def _report(
    shard: int,
    journal: Journal,
    dedupe: DedupeWindow,
    pending: Pending,
    committer: Committer,
    intake: Intake,
    router: Router,
    bounds: dict[str, int],
) -> dict[str, Any]:
    """What a heartbeat tells of this writer."""
    return {
        "shard": shard,
        "journal_seq": journal.last_seq,
        "journal_bytes": journal.bytes,
        "journal": intake.journal_state(time.monotonic()),
        "committed_seq": committer.committed_seq,
        "epoch": committer.epoch,
        "database": committer.database,
        "frames": intake.frames,
        "frames_refused": intake.frames_refused,
        "messages_refused": router.refused,
        "messages_unsent": router.unsent,
        "dedupe_readings": len(dedupe),
        "journal_frames": journal.last_seq - journal.oldest_seq + 1,
        "pending_bytes": pending.held_bytes,
        "behind": pending.behind,
        "state_devices": committer.state_devices,
        "refused_lately": committer.refused_lately,
        "sync_seconds": journal.sync_seconds.report(),
        "limits": bounds,
        **committer.tally.report(),
        "kinds": {
            kind.name: {
                "waiting": pending.waiting[kind.number],
                "active": committer.active[kind.number],
                "received": intake.received[kind.number],
                "duplicates": intake.duplicates[kind.number],
                "stored": committer.tally.stored[kind.number],
                "dead_lettered": committer.tally.dead_lettered[kind.number],
            }
            for kind in KINDS
        },
    }


def _disk_figures(intake: Intake, free_space: FreeSpace) -> dict[str, Any]:
    """What a heartbeat tells of the journal's disk, and of what waits for it."""
    return {
        "sync_ms": round(intake.sync_times.last_s * 1000, 1),
        "sync_under_way_ms": round(intake.sync_times.under_way_s(time.monotonic()) * 1000),
        "disk_free_bytes": free_space.bytes,
        "gathering_bytes": intake.gathering_bytes,
        "journal_drain_bytes_per_s": round(intake.draining_rate.per_s or 0.0),
    }
