"""After the number of shards was changed: brings the journals of the former shards into PostgreSQL.

Runs once at start, before the new writers take readings, so that a device's later readings cannot overtake its
earlier ones. The drained files stay for the dedupe window (the new writers look into them) and are then removed.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from hseie import clock, database
from hseie.config import Config
from hseie.errors import DatabaseUnavailableError
from hseie.journal_file import journal_files, shard_in
from hseie.lost_journals import retire
from hseie.process import Child
from hseie.writer.committer import Committer
from hseie.writer.journal import Journal
from hseie.writer.pending import Pending


def stale_journals(folder: Path, shards: int) -> list[Path]:
    """Return the journals in `folder` that belong to another number of shards than `shards`, by name.

    With what only looks like one: `shard_in` refuses that.
    """
    return [path for path in journal_files(folder) if not path.name.endswith(f"-of-{shards:04d}.sqlite")]


def is_expired(drained_at: str, now: str, window_s: float) -> bool:
    """Tell whether a drained journal is past every use. Times are moments of `clock`; empty: not drained.

    The window may have been started anew just before the change, hence twice its length.
    """
    return bool(drained_at) and clock.span_s(drained_at, now) > 2 * window_s


def remove_journal(path: Path) -> None:
    """Remove the files of a closed journal."""
    for file in (path, *path.parent.glob(path.name + "-*")):
        file.unlink()


async def serve(child: Child, config: Config, postgres_url: str) -> None:
    """Drain every journal of a former number of shards; wait for PostgreSQL as long as that takes.

    Raises JournalError, also for a file in the folder that only looks like a journal by its name.
    """
    child.ready()
    for path in stale_journals(config.data_dir / "journal", config.writer.shards):
        journal = await Journal.open(path, *shard_in(path))
        drained_at = (await journal.facts()).get("drained_at", "")
        if not drained_at:
            pending = Pending(journal, config.writer.pending_bytes_max)
            committer = Committer(journal, pending, config, postgres_url, child.log, lambda seq: None)
            child.report = partial(_report, path.name, committer)
            child.log.info("draining_journal", file=path.name, why="the number of shards was changed")
            running = asyncio.ensure_future(committer.run(until_empty=True))
            stopping = asyncio.ensure_future(child.stopping.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if child.stopping.is_set():
                committer.drain()
            stopping.cancel()
            await running
            if child.stopping.is_set():
                return
            await _retire(journal, postgres_url)
            await journal.note("drained_at", clock.moment())
            child.log.info("journal_drained", file=path.name, committed_seq=committer.committed_seq)
        await journal.close()
        if is_expired(drained_at, clock.moment(), config.ingest.dedupe_window_s):
            remove_journal(path)
            child.log.info("journal_removed", file=path.name)


async def _retire(journal: Journal, postgres_url: str) -> None:
    """Say in PostgreSQL that this journal is no longer in use, so that nobody misses its file.

    Raises DatabaseUnavailableError; the next start of this step finds nothing left to drain and comes here again.
    """
    try:
        await database.with_connection(
            postgres_url,
            "hseie reshard",
            lambda connection: retire(connection, [journal.identity.journal_id], "drained"),
        )
    except database.DATABASE_ERRORS as error:
        raise DatabaseUnavailableError(f"a drained journal could not be retired: {error or 'no answer'}") from error


def _report(name: str, committer: Committer) -> dict[str, Any]:
    """What a heartbeat tells: which journal is drained, and whether PostgreSQL lets it."""
    return {"draining": name, "database": committer.database, "flushes": committer.tally.flushes}
