"""What goes wrong between a device and the server: readings that come late, twice, or garbled."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random
from typing import Any

from simulator.fleet import Due, Reading

MALFORMED, LATE, REPEAT = "malformed", "late", "repeat"
LATEST_CADENCES = 5


def disturbed(
    stream: Iterator[Due], late: float, repeat: float, malformed: float, random: Random, cadence_ms: int
) -> Iterator[Due]:
    """The stream with these shares of it disturbed, still in the order of sending.

    A late reading is sent one to five cadences after its time; a repeated one a second time, unchanged,
    within two cadences; a malformed one takes the place of the good one. What is held back when the stream
    ends goes out at once.
    """
    if not (late or repeat or malformed):
        yield from stream
        return
    held: list[tuple[int, int, Reading]] = []
    due = 0
    for order, (due, reading) in enumerate(stream):
        while held and held[0][0] <= due:
            at, _, waiting = heappop(held)
            yield at, waiting
        draw = random.random()
        if draw < malformed:
            yield due, malform(reading, random)
        elif draw < malformed + late:
            heappush(held, (due + random.randint(cadence_ms, LATEST_CADENCES * cadence_ms), order, _as(reading, LATE)))
        else:
            yield due, reading
            if random.random() < repeat:
                heappush(held, (due + random.randint(1, 2 * cadence_ms), order, _as(reading, REPEAT)))
    while held:
        yield due, heappop(held)[2]


def _as(reading: Reading, mark: str) -> Reading:
    return Reading(reading.kind, reading.fields, mark)


def malform(reading: Reading, random: Random) -> Reading:
    """A copy that every server has to refuse, wrong in one of the ways devices are."""
    fields = dict(reading.fields)
    amount = "kwhConsumedAc" if reading.kind == "meter" else "kwhDeliveredDc"
    wrong: tuple[dict[str, Any], ...] = (
        {amount: -1.0},
        {amount: str(fields[amount])},
        {amount: None},
        {amount: 1_000_000},
        {"timestamp": "yesterday"},
        {"timestamp": fields["timestamp"].removesuffix("Z")},
        {"unexpected": 1},
        {f"{reading.kind}Id": "no blanks allowed"},
    )
    choice = random.randrange(len(wrong) + 1)
    if choice == len(wrong):
        del fields[amount]
    else:
        fields.update(wrong[choice])
    return Reading(reading.kind, fields, MALFORMED)
