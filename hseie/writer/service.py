"""The writer process of one shard: wires intake, journal, pending frames and committer, and nothing else."""

import asyncio
import time
from pathlib import Path
from typing import Any

from hseie import failpoints
from hseie.bus import Router, ipc_endpoint
from hseie.config import Config
from hseie.frames import decode, parse_frame, shard_of
from hseie.process import Child
from hseie.readings import KINDS
from hseie.writer.batch import split_lines
from hseie.writer.committer import Committer
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.intake import Intake
from hseie.writer.journal import Journal, journal_path
from hseie.writer.pending import Pending
from hseie.writer.reshard import stale_journals

_READ_BYTES = 1 << 20
_PRUNE_EVERY_S = 2.0
_JOURNAL_SHARE_OF_WINDOW = 4  # a quarter of the journal may be frames that only the dedupe window needs


async def serve(child: Child, config: Config, postgres_url: str, shard: int) -> None:
    """Be the writer of `shard` until told to stop. Raises JournalError and FencedError, which end the process."""
    failpoints.reach("writer.start")
    folder = config.data_dir / "journal"
    journal = await Journal.open(journal_path(folder, shard, config.writer.shards), shard, config.writer.shards)
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
    committer = Committer(journal, pending, config, postgres_url, child.log, lambda seq: intake.committed(seq))
    intake = Intake(journal, dedupe, pending, config.writer.journal_bytes_max, committer.arrived)
    router = Router(
        ipc_endpoint(child.run_dir, child.name), intake.on_message, message_bytes_max=4 * ingest.frame_bytes_max
    )
    intake.send = router.send
    bounds = _bounds(config)
    child.report = lambda: _report(shard, journal, dedupe, pending, committer, intake, router, bounds)
    child.log.info("writer_ready", shard=shard, last_seq=journal.last_seq, remembered=len(dedupe))
    child.ready()
    try:
        await _run(child, journal, dedupe, intake, committer)
    finally:
        router.close()
        await journal.close()


async def _run(child: Child, journal: Journal, dedupe: DedupeWindow, intake: Intake, committer: Committer) -> None:
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(intake.run())
        tasks.create_task(committer.run())
        pruning = tasks.create_task(_prune(journal, dedupe, committer))
        await child.stopping.wait()
        # First nothing more comes in, then what came is flushed: the last group is acknowledged before that.
        intake.drain()
        await taking
        committer.drain()
        pruning.cancel()


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
        other_shard, other_shards = (int(part) for part in path.stem.removeprefix("shard-").split("-of-"))
        other = await Journal.open(path, other_shard, other_shards)
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
    """Remove from the journal what is committed and outside the dedupe window."""
    while True:
        await asyncio.sleep(_PRUNE_EVERY_S)
        needed = dedupe.first_seq
        up_to = committer.committed_seq if needed is None else min(committer.committed_seq, needed - 1)
        if up_to >= journal.oldest_seq:
            await journal.prune(up_to)


def _bounds(config: Config) -> dict[str, int]:
    """What a report's figures are to be compared with."""
    return {
        "journal_bytes": config.writer.journal_bytes_max,
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
        "journal": "full" if intake.is_full else "ok",
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
