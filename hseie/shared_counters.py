"""Counters that the processes of a node share without a lock: a file in the run folder, mapped into each of them.

Every process has a slot of its own, in which nobody else writes: how much it has spent at each place, ever, and how it
saw the bucket of that place when it last looked. Others read it. The total of a place is the sum over the slots, so a
process that comes back goes on where the former one in its slot has ended.
"""

import contextlib
import fcntl
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from hseie.errors import HseieError
from hseie.key_text import KEYS_MAX

PLACES = KEYS_MAX
SLOTS = 514  # acceptors there may be and analytics, each with a successor for a moment

_NAME = "counters-1"  # another number for another layout
_HEAD_BYTES = 4096  # a byte for each slot that was ever taken
_WORDS = 5  # of a place in a slot: spent, owner, at, total, level
_SPENT, _OWNER, _AT, _TOTAL, _LEVEL = range(_WORDS)
_SLOT_WORDS = PLACES * _WORDS
_SLOT_BYTES = _SLOT_WORDS * 8
_FILE_BYTES = _HEAD_BYTES + SLOTS * _SLOT_BYTES  # sparse: a slot takes room on the disk when it is first used
_LEVEL_ZERO = 1 << 62  # levels may be negative, words may not
_READS_MAX = 100  # of an entry that changes: its process writes it some times a second
_PARTS = 1000  # of a token, and of a second, that a word can tell


@dataclass(frozen=True, slots=True)
class Seen:
    """How a process saw a bucket: `level` when all had spent `total`, at `at` (monotonic seconds)."""

    level: float
    total: int
    at: float


class SharedCounters:
    """This process's slot, and the view of the others'. Held until `close`, or the end of the process."""

    def __init__(self, run_dir: Path) -> None:
        """Take the first slot that is free. Raises HseieError."""
        self._file = -1
        try:
            self._file = os.open(run_dir / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._file).st_size < _FILE_BYTES:
                os.ftruncate(self._file, _FILE_BYTES)
            self.slot = self._take()
            self._map = mmap.mmap(self._file, _FILE_BYTES)
        except OSError as error:
            if self._file >= 0:
                os.close(self._file)
            raise HseieError(
                f"the counters of the keys' rates cannot be kept in {run_dir}: {error.strerror}; make room there"
            ) from None
        self._words = memoryview(self._map)[_HEAD_BYTES:].cast("Q")
        self.look()

    def look(self) -> None:
        """See which slots are in use by now: processes may have come."""
        self._end = len(self._map[:SLOTS].rstrip(b"\0")) * _SLOT_WORDS

    def total(self, place: int) -> int:
        """Return what all processes have spent at a place."""
        return sum(self._words[place * _WORDS : self._end : _SLOT_WORDS])

    def add(self, place: int, amount: int) -> None:
        """Spend at a place."""
        self._words[self.slot * _SLOT_WORDS + place * _WORDS] += amount

    def publish(self, place: int, owner: int, seen: Seen) -> None:
        """Show the others how we see the bucket of a place, which belongs to `owner` (64 bits, not 0)."""
        start = self.slot * _SLOT_WORDS + place * _WORDS
        words = self._words
        words[start + _OWNER] = 0  # whoever reads between these lines finds nothing
        words[start + _AT] = int(seen.at * _PARTS)
        words[start + _TOTAL] = seen.total
        words[start + _LEVEL] = _LEVEL_ZERO + int(seen.level * _PARTS)
        words[start + _OWNER] = owner

    def newest(self, place: int, owner: int, now: float) -> Seen | None:
        """Return how a bucket was seen last, by anybody; None if it never was, or not by this side of a reboot."""
        newest: Seen | None = None
        for start in range(place * _WORDS, self._end, _SLOT_WORDS):
            _, its_owner, at, total, level = self._entry(start)
            seen = Seen((level - _LEVEL_ZERO) / _PARTS, total, at / _PARTS)
            if its_owner == owner and seen.at <= now and (newest is None or seen.at > newest.at):
                newest = seen
        return newest

    def _entry(self, start: int) -> tuple[int, ...]:
        """Return the words of a place in a slot, all of one moment; without an owner where they never are."""
        words = tuple(self._words[start : start + _WORDS])
        for _ in range(_READS_MAX):
            # Its process may have written some of them in the meantime, and again have named itself as the last.
            former, words = words, tuple(self._words[start : start + _WORDS])
            if former[_OWNER:] == words[_OWNER:]:
                return words
        return (0,) * _WORDS

    def close(self) -> None:
        """Give the slot back; a second call does nothing."""
        if self._file >= 0:
            self._words.release()
            self._map.close()
            os.close(self._file)
            self._file = -1

    def _take(self) -> int:
        # A lock that ends with the process, so that no slot has two writers, not even while a successor comes up.
        for slot in range(SLOTS):
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                # Written now, where a full disk is an error that can be told: in a mapped file it kills whoever comes
                # to a page that has no place on the disk.
                start = _HEAD_BYTES + slot * _SLOT_BYTES
                os.pwrite(self._file, os.pread(self._file, _SLOT_BYTES, start), start)
                os.pwrite(self._file, b"\1", slot)
                return slot
        raise OSError(0, "no slot is free")
