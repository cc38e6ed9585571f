"""What became of readings: `GET /v1/ingest/queue/stats` and `GET /v1/ingest/jobs/{jobId}`."""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import web

from hseie import web as http
from hseie.analytics.node import NodeView, Snapshot
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.answers import JOB_ID_PATTERN, Job, QueueCounts
from hseie.config import Config
from hseie.database import Record
from hseie.readings import KINDS

_JOB_ID = re.compile(JOB_ID_PATTERN)
# Figures travel with heartbeats, so a frame acknowledged just now may not be in them yet.
_HEARTBEATS_AWAITED = 3
_POLL_S = 0.1
ASKING_MAX = 16  # at once: one that nobody knows is waited for, and meanwhile holds a connection of an acceptor

Fate = Literal["stored", "queued", "unknown", "unclear"]


class ReceiptRoutes:
    """Answers from the checkpoint and the books in PostgreSQL and the writers' figures."""

    def __init__(self, reader: Reader, node: NodeView, config: Config) -> None:
        self._reader = reader
        self._node = node
        self._await_s = _HEARTBEATS_AWAITED * config.supervisor.heartbeat_ms / 1000
        self._shards = config.writer.shards
        self._asking = 0

    async def queue_stats(self, request: web.Request) -> web.Response:
        Query(request.query, ()).check()
        snapshot = await self._node.snapshot()
        books = {row["kind"]: row for row in await self._reader.rows("receipt_books")}
        document: dict[str, Any] = {
            f"{kind.name}Queue": queue_counts(kind.name, snapshot, books.get(kind.name)) for kind in KINDS
        }
        missing = sorted(set(range(self._shards)) - set(snapshot.writers))
        if missing:
            # Their journals may hold readings that nobody can count at the moment.
            document["missingShards"] = missing
        return http.json_answer(document)

    async def job(self, request: web.Request) -> web.Response:
        Query(request.query, ()).check()
        job_id = request.match_info["jobId"]
        match = _JOB_ID.fullmatch(job_id)
        if match is None:
            return http.problem("unknown_job")
        if self._asking >= ASKING_MAX:
            return http.problem("overloaded", "Too many ask what became of a receipt.")
        self._asking += 1
        try:
            state = await self._fate(int(match[1]), int(match[2]))
        finally:
            self._asking -= 1
        if state == "unknown":
            return http.problem("unknown_job")
        if state == "unclear":
            return http.problem("writer_unavailable")
        return http.json_answer(Job(job_id=job_id, state=state))

    async def _fate(self, shard: int, sequence: int) -> Fate:
        deadline = time.monotonic() + self._await_s
        while True:
            # The writers' figures first: a frame that is committed between the two questions is then found stored.
            snapshot = await self._node.snapshot()
            row = await self._reader.row("receipt_committed", shard, sequence)
            fate = job_fate(shard, sequence, row["last_seq"] if row is not None else None, snapshot)
            if fate in ("stored", "queued") or time.monotonic() >= deadline:
                return fate
            await asyncio.sleep(_POLL_S)


def job_fate(shard: int, sequence: int, committed_seq: int | None, snapshot: Snapshot) -> Fate:
    """Tell what became of a frame.

    `committed_seq` is that of the journal that begins at or before it, None where no such journal ever flushed, read
    after the snapshot was taken. What the writer counts as committed and PostgreSQL does not lies before the writer's
    journal and was never handed out. While the writer is away nobody can say whether its journal holds the frame.
    """
    if committed_seq is not None and sequence <= committed_seq:
        return "stored"
    writer = snapshot.writers.get(shard)
    if writer is not None:
        queued = writer.stats.get("committed_seq", 0) < sequence <= writer.stats.get("journal_seq", 0)
        return "queued" if queued else "unknown"
    expected = any(process.name.endswith(f"-{shard}") for process in snapshot.role("writer"))
    return "unclear" if expected else "unknown"


def queue_counts(kind: str, snapshot: Snapshot, book: Record | None) -> QueueCounts:
    """Add up the writers' figures of a kind, and its book (None before the first flush)."""
    counts: list[Mapping[str, int]] = [
        process.stats.get("kinds", {}).get(kind, {}) for process in snapshot.writers.values()
    ]
    return QueueCounts(
        waiting=sum(count.get("waiting", 0) for count in counts),
        active=sum(count.get("active", 0) for count in counts),
        completed=book["stored"] + book["duplicates"] if book is not None else 0,
        failed=book["dead_lettered"] if book is not None else 0,
    )
