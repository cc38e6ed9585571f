"""Where parked lines came from: which lines of which frames, for whoever waits for the commit of their readings.

Looked up in the journal only when lines were refused; a flush that goes well keeps no record of its frames.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from hseie.readings import KINDS
from hseie.writer.batch import Batch
from hseie.writer.flush import Refused
from hseie.writer.journal import Entry, Journal

Parked = dict[int, dict[int, list[int]]]
"""By sequence of the frame and number of the kind: the indexes of its parked lines, rising."""

_READ_BYTES = 1 << 20


async def find_parked(journal: Journal, batch: Batch, refused: Sequence[Refused]) -> Parked:
    """Return the place of each refused line of a committed batch. Raises JournalError."""
    parked: Parked = {}
    if not refused:
        return parked
    places = [[one.place for one in refused if one.kind == kind.number] for kind in KINDS]
    passed = [0 for _ in KINDS]
    seq = batch.first_seq
    while entries := await journal.read(seq - 1, batch.last_seq, _READ_BYTES):
        parked |= locate(enumerate(entries, start=seq), places, passed)
        seq += len(entries)
    return parked


def locate(entries: Iterable[tuple[int, Entry]], places: list[list[int]], passed: list[int]) -> Parked:
    """Find the frames that hold the given places of a batch (per kind number, rising).

    `passed` counts per kind number the lines before these entries, and is moved on. Re-sends are not in the batch.
    """
    parked: Parked = {}
    for seq, entry in entries:
        for kind, count in entry.readings.items():
            resent = set(entry.duplicates.get(kind, ()))
            first, end = passed[kind], passed[kind] + count - len(resent)
            passed[kind] = end
            here = places[kind][bisect_left(places[kind], first) : bisect_left(places[kind], end)]
            if here:
                indexes = [index for index in range(count) if index not in resent]
                parked.setdefault(seq, {})[kind] = [indexes[place - first] for place in here]
    return parked
