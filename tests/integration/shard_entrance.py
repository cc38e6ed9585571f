"""The entrance of a shard as the tests of acceptors and links use it: real sockets and journal, no PostgreSQL."""

import asyncio
import time
from pathlib import Path

from hseie.bus import Router, ipc_endpoint
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.intake import Intake
from hseie.writer.journal import Journal
from hseie.writer.pending import Pending

MESSAGE_BYTES_MAX = 1 << 24


class Writer:
    """One shard that journals and acknowledges; commits are said by hand."""

    def __init__(self, run_dir: Path, **limits: int) -> None:
        self._run_dir = run_dir
        self._journal_bytes_max = limits.get("journal_bytes_max", 1 << 30)

    async def start(self) -> "Writer":
        self.stopped = False
        self.journal = await Journal.open(self._run_dir / "journal.sqlite", 0, 1)
        dedupe = DedupeWindow(60, 1000, 1 << 30, time.monotonic())
        self.pending = Pending(self.journal, 1 << 20)
        self.intake = Intake(self.journal, dedupe, self.pending, self._journal_bytes_max, lambda urgent: None)
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
