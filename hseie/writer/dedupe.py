"""Recognises exact re-sends: which lines were received before, inside the window.

The key is the whole line of COPY text, not a hash of it: a collision would lose a reading. Two generations of sets are
kept; the younger one takes what comes, and when it is old or large enough it becomes the older one, whose
predecessor is forgotten. So a line is remembered for at least one window and at most two, or, under more readings
than the limit, for at least half of that many readings. The journal keeps the frames of both generations; how many
bytes that may be is limited too, or re-sends alone, which add no line, could fill it.
"""

from collections.abc import Iterable

from hseie.readings import KINDS


class DedupeWindow:
    """The window of one shard. Time comes in as an argument (monotonic seconds), sequences are the journal's."""

    def __init__(self, window_s: float, readings_max: int, frame_bytes_max: int, now: float) -> None:
        """A `window_s` of 0 turns deduplication off: nothing is a duplicate and nothing is kept.

        `frame_bytes_max` limits the frames that the journal has to keep for the window.
        """
        self._window_s = window_s
        self._half_max = max(1, readings_max // 2)
        self._half_bytes_max = max(1, frame_bytes_max // 2)
        self._older: list[set[bytes]] = [set() for _ in KINDS]
        self._younger: list[set[bytes]] = [set() for _ in KINDS]
        self._older_first_seq: int | None = None
        self._younger_first_seq: int | None = None
        self._turned_at = now
        self._younger_count = 0
        self._younger_bytes = 0

    def __len__(self) -> int:
        """Lines remembered at the moment."""
        return sum(len(lines) for lines in (*self._older, *self._younger))

    @property
    def first_seq(self) -> int | None:
        """The oldest frame that is still needed to rebuild the window; None when none is."""
        return self._older_first_seq if self._older_first_seq is not None else self._younger_first_seq

    def check(self, kind: int, lines: list[bytes]) -> list[int]:
        """Remember `lines` and return the indexes of those that were known already, in this list or before."""
        if not self._window_s:
            return []
        younger, older = self._younger[kind], self._older[kind]
        fresh = set(lines)
        if len(fresh) == len(lines) and younger.isdisjoint(fresh) and older.isdisjoint(fresh):
            younger |= fresh  # the usual case, at the speed of sets
            self._younger_count += len(fresh)
            return []
        duplicates = []
        for index, line in enumerate(lines):
            if line in younger or line in older:
                duplicates.append(index)
            else:
                younger.add(line)
                self._younger_count += 1
        return duplicates

    def remember(self, kind: int, lines: Iterable[bytes]) -> None:
        """Take lines from a journal at start, without asking whether they are new."""
        if self._window_s:
            before = len(self._younger[kind])
            self._younger[kind].update(lines)
            self._younger_count += len(self._younger[kind]) - before

    def turn(self, seq: int, size: int, now: float) -> None:
        """Note that frame `seq` of `size` bytes comes next, and begin a new generation when that is due."""
        if not self._window_s:
            return
        if self._younger_first_seq is None:
            self._younger_first_seq = seq
        self._younger_bytes += size
        young = now - self._turned_at < self._window_s
        if young and self._younger_count < self._half_max and self._younger_bytes <= self._half_bytes_max:
            return
        self._older, self._younger = self._younger, [set() for _ in KINDS]
        self._older_first_seq, self._younger_first_seq = self._younger_first_seq, seq
        self._turned_at = now
        self._younger_count = 0
        self._younger_bytes = size
