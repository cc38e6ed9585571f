"""What is to be done next about an old day: pure decisions. Doing it is for `archive` and `archive_drop`.

A day goes through: in history -> written (a file has its rows too) -> archived (only the file has them). A reading that
comes late goes to history, to a partition made for it if need be. While the day is 'written', that means back to the
start, with all its rows in a new file; once it is 'archived', the late ones become the next part, one a day at most: a
question of the day opens all of them.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from hseie.archive import Part

# A day is not written again sooner than after so many graces: where late readings of it keep coming, each would mean
# millions of rows, and no other day would have its turn.
REWRITE_GRACES = 5

# After a day has left history, what came late for it follows no sooner than so many seconds after what left before. So
# it has no more parts than `ingest.past_max_days` has days, and one in all where nothing comes late.
BETWEEN_PARTS_S = 86400.0


class Step(enum.Enum):
    """What to do about a day."""

    WRITE = "write"  # its rows go to a file
    DROP = "drop"  # a file has all of its rows: out of history with them
    GIVE_UP = "give_up"  # retention.then is "drop": out of history without a file
    WAIT = "wait"  # somebody may still be reading it the way it was before
    KEEP = "keep"  # as it is: restored, until somebody says otherwise; or late, and more may come


@dataclass(frozen=True)
class OldDay:
    """A day of a kind that has a partition and is older than `retention.raw_days`.

    `booked`: its readings by the day books. `parts`: all there are of it, with the seconds that each is in its state.
    """

    kind: str
    day: date
    booked: int
    parts: tuple[tuple[Part, float], ...]

    @property
    def numbers(self) -> list[int]:
        return [part.part for part, _ in self.parts]

    @property
    def written(self) -> list[tuple[Part, float]]:
        """The parts whose rows are in history too."""
        return [(part, age_s) for part, age_s in self.parts if part.state == "written"]


def next_step(old: OldDay, then: Literal["archive", "drop"], grace_s: float) -> tuple[Step, float]:
    """Return what to do about a day, and for WAIT after how many seconds.

    `grace_s` is longer than any query may take.
    """
    if any(part.state == "restored" for part, _ in old.parts):
        return Step.KEEP, 0.0
    step, wait_s = (Step.WRITE, 0.0) if then == "archive" else (Step.GIVE_UP, 0.0)
    if old.written:
        if max(part.booked for part, _ in old.written) == old.booked:
            # Who asked before there was a file reads history, in several statements maybe.
            step, wait_s = Step.DROP, grace_s
        else:
            wait_s = grace_s * REWRITE_GRACES if step is Step.WRITE else grace_s
        wait_s -= min(age_s for _, age_s in old.written)
    elif any(age_s < BETWEEN_PARTS_S for _, age_s in old.parts):
        return Step.KEEP, 0.0
    return (Step.WAIT, wait_s) if wait_s > 0 else (step, 0.0)


def old_days(days: Iterable[tuple[str, date, int]], parts: Iterable[tuple[Part, float]]) -> list[OldDay]:
    """Lay the days (kind, day, booked) and their parts beside each other."""
    by_day: dict[tuple[str, date], list[tuple[Part, float]]] = {}
    for part, age_s in parts:
        by_day.setdefault((part.kind, part.day), []).append((part, age_s))
    return [OldDay(kind, day, booked, tuple(by_day.get((kind, day), ()))) for kind, day, booked in days]
