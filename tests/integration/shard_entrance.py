"""The entrance of a shard, and an acceptor's link to it, as tests use them: real sockets and journal, no PostgreSQL."""

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog

from hseie.acceptor.collector import WriterLink
from hseie.acceptor.tickets import Receipt, Refusal
from hseie.bus import Dealer, Router, ipc_endpoint
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.disk import FreeSpace
from hseie.writer.intake import Intake
from hseie.writer.journal import Journal
from hseie.writer.pending import Pending
from hseie.writer.room import Limits

MESSAGE_BYTES_MAX = 1 << 24
ROW = "A\t2026-11-20T12:00:00\t1.0000\t230.00\n"


class Writer:
    """One shard that journals and acknowledges; commits are said by hand."""

    def __init__(self, run_dir: Path, **limits: float) -> None:
        self._run_dir = run_dir
        usual: dict[str, Any] = {
            "journal_bytes_max": 1 << 30,
            "journal_low_water_pct": 90,
            "disk_free_bytes_min": 0,
            "gathering_bytes_max": 1 << 26,
            "ack_timeout_s": 5.0,
        }
        self._limits = Limits(**(usual | limits))

    async def start(self) -> "Writer":
        self.stopped = False
        self.journal = await Journal.open(self._run_dir / "journal.sqlite", 0, 1)
        dedupe = DedupeWindow(60, 1000, 1 << 30, time.monotonic())
        self.pending = Pending(self.journal, 1 << 20)
        self.free_space = FreeSpace(self._run_dir, structlog.get_logger())
        self.intake = Intake(self.journal, dedupe, self.pending, self._limits, self.free_space, lambda urgent: None)
        self.router = Router(
            ipc_endpoint(self._run_dir, "writer-0"), self.intake.on_message, message_bytes_max=MESSAGE_BYTES_MAX
        )
        self.intake.send = self.router.send
        self.task = asyncio.ensure_future(self.intake.run())
        return self

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.intake.drain()
            await asyncio.wait({self.task})
            self.router.close()
            await self.journal.close()


class Acceptor:
    """One link with its socket, swept as the service does."""

    def __init__(
        self,
        run_dir: Path,
        in_flight: int = 8,
        bytes_max: int = 1 << 20,
        ack_timeout_s: float = 30,
        shards: int = 1,
    ) -> None:
        self.link = WriterLink(0, in_flight, bytes_max, ack_timeout_s, shards=shards)
        self.socket = Dealer(
            ipc_endpoint(run_dir, "writer-0"), self.link.on_message, message_bytes_max=MESSAGE_BYTES_MAX
        )
        self.link.send = self.socket.send
        self.task = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        while True:
            self.link.sweep(time.monotonic(), silence_max_s=30)
            await asyncio.sleep(0.02)

    async def heard(self) -> None:
        async with asyncio.timeout(10):
            while self.link.boot is None:
                await asyncio.sleep(0.01)

    async def post(self, *rows: str, wait: bool = False) -> Receipt | str:
        """The receipt, or the code of the refusal."""
        ticket = self.link.add(0, list(rows), wait)
        outcome = ticket if isinstance(ticket, Refusal) else await asyncio.wait_for(ticket.frame.outcome, 10)
        return outcome.code if isinstance(outcome, Refusal) else outcome

    def close(self) -> None:
        self.task.cancel()
        self.socket.close()
