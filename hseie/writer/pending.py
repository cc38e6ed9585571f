"""What is durable in the journal and not yet in PostgreSQL, within a fixed amount of memory.

Normally the frames wait here in memory as the next batch. When they become too many, because PostgreSQL is away or
slow, they are dropped from memory, which is safe because the journal has them, and read back from there piece by piece.
"""

import asyncio

from hseie.frames import Part
from hseie.readings import KINDS
from hseie.writer.batch import Batch
from hseie.writer.journal import Journal

_READ_BYTES_MAX = 4 << 20  # of the journal in one batch: about 70,000 readings
_READINGS_PER_TURN = 2000  # prepared before the loop gets its turn again


class Pending:
    """Hands out batches in the order of the journal. `waiting` counts readings not yet handed out, per kind number."""

    def __init__(self, journal: Journal, bytes_max: int) -> None:
        self._journal = journal
        self._bytes_max = bytes_max
        self._batch = Batch()
        self._position = journal.last_seq  # the newest frame handed out
        self._read_bytes = _READ_BYTES_MAX
        self.behind = False  # frames after `_position` are in the journal only
        self.waiting = [0 for _ in KINDS]

    @property
    def readings(self) -> int:
        """Readings in memory, ready to be taken."""
        return self._batch.readings

    @property
    def held_bytes(self) -> int:
        """Bytes of rows in memory; what is in the running flush not counted."""
        return self._batch.bytes

    async def restart_after(self, seq: int) -> None:
        """Go on with the frame after `seq`, from the journal: after a start, or when PostgreSQL says so."""
        newest = self._journal.last_seq
        self._position = seq
        self.behind = True
        self._batch = Batch()
        self.waiting = [0 for _ in KINDS]  # what arrives during the counting is added by `add`
        for kind, count in (await self._journal.count_readings(seq, newest)).items():
            self.waiting[kind] += count

    def add(self, seq: int, parts: list[tuple[Part, list[bytes]]], duplicates: dict[int, list[int]]) -> None:
        """Take a frame that has just become durable."""
        for part, _ in parts:
            self.waiting[part.kind] += part.count
        if self.behind:
            return
        self._batch.add(seq, parts, duplicates)
        if self._batch.bytes > self._bytes_max:
            self.behind = True
            self._batch = Batch()

    async def restart_smaller(self, seq: int) -> None:
        """As `restart_after`, with half as much in a batch: the last one took PostgreSQL too long."""
        self._read_bytes = max(1, self._read_bytes // 2)
        await self.restart_after(seq)

    async def take(self) -> Batch | None:
        """Return the next batch, or None when nothing is waiting. Raises JournalError when it cannot be read back."""
        if self.behind:
            batch = await self._read_back()
        else:
            batch, self._batch = self._batch, Batch()
            self._read_bytes = _READ_BYTES_MAX  # caught up: whatever was slow is so no more
        if not batch.last_seq:
            return None
        batch.last_crc = await self._journal.crc(batch.last_seq)
        self._position = batch.last_seq
        for number, kind in enumerate(batch.kinds):
            self.waiting[number] -= kind.received
        return batch

    async def _read_back(self) -> Batch:
        # Frames that arrive during the reading gather as the batch after this one. If the reading turns out not to
        # reach them, they are forgotten again.
        newest = self._journal.last_seq
        self.behind = False
        self._batch = Batch()
        entries = await self._journal.read(self._position, newest, self._read_bytes)
        batch = Batch()
        prepared = 0
        for seq, entry in enumerate(entries, start=self._position + 1):
            batch.add_entry(seq, entry)
            prepared += sum(entry.readings.values())
            if prepared >= _READINGS_PER_TURN:
                prepared = 0
                await asyncio.sleep(0)
        if self._position + len(entries) < newest:
            self.behind = True
            self._batch = Batch()
        return batch
