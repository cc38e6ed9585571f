"""What is next for an old day."""

from datetime import date

import pytest

from hseie.archive import Part
from hseie.maintenance.archive_plan import BETWEEN_PARTS_S, REWRITE_GRACES, OldDay, Step, next_step, old_days

DAY = date(2026, 2, 8)
GRACE_S = 100.0


def part(state: str, booked: int = 60, number: int = 1) -> Part:
    return Part("meter", DAY, number, state, "", 60, booked=booked)


@pytest.mark.parametrize(
    ("parts", "then", "expected"),
    [
        ([], "archive", (Step.WRITE, 0)),
        ([], "drop", (Step.GIVE_UP, 0)),
        ([(part("written"), 99)], "archive", (Step.WAIT, 1)),
        ([(part("written"), 100)], "archive", (Step.DROP, 0)),
        ([(part("written"), 100)], "drop", (Step.DROP, 0)),  # the file is there: it is not given up
        ([(part("written"), 99)], "drop", (Step.WAIT, 1)),
        # Late readings: all of it anew, but not at once; or all that no file has is given up.
        ([(part("written", 59), 99)], "archive", (Step.WAIT, REWRITE_GRACES * GRACE_S - 99)),
        ([(part("written", 59), REWRITE_GRACES * GRACE_S)], "archive", (Step.WRITE, 0)),
        ([(part("written", 59), 99)], "drop", (Step.WAIT, 1)),
        ([(part("written", 59), 100)], "drop", (Step.GIVE_UP, 0)),
        # After what has left history comes the next part, a day later.
        ([(part("archived", 50), BETWEEN_PARTS_S)], "archive", (Step.WRITE, 0)),
        ([(part("archived", 50), BETWEEN_PARTS_S - 1)], "archive", (Step.KEEP, 0)),
        ([(part("archived"), 10**6), (part("archived", number=2), 5)], "archive", (Step.KEEP, 0)),
        ([(part("dropped", 50), BETWEEN_PARTS_S)], "drop", (Step.GIVE_UP, 0)),
        ([(part("dropped", 50), BETWEEN_PARTS_S - 1)], "drop", (Step.KEEP, 0)),
        ([(part("archived", 50), 5), (part("written", number=2), 100)], "archive", (Step.DROP, 0)),
        # As many as were released together, the youngest of them counts.
        ([(part("written", 50), 500), (part("written", number=2), 60)], "archive", (Step.WAIT, 40)),
        ([(part("restored"), 1000)], "archive", (Step.KEEP, 0)),
        ([(part("restored"), 1000), (part("written", number=2), 1000)], "drop", (Step.KEEP, 0)),
    ],
)
def test_what_is_next(parts: list[tuple[Part, float]], then: str, expected: tuple[Step, float]) -> None:
    assert next_step(OldDay("meter", DAY, 60, tuple(parts)), then, GRACE_S) == expected  # type: ignore[arg-type]


def test_parts_come_to_their_days() -> None:
    other = Part("vehicle", DAY, 1, "archived", "", 5)
    found = old_days([("meter", DAY, 7), ("vehicle", DAY, 5)], [(part("written"), 1.0), (other, 2.0)])
    assert [(old.kind, old.booked, old.numbers) for old in found] == [("meter", 7, [1]), ("vehicle", 5, [1])]
    assert (len(found[0].written), found[1].written) == (1, [])
