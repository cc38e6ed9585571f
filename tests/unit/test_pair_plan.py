"""The rules of re-pairing, on rows in memory: by examples, and by whatever hypothesis makes up."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hseie.errors import HseieError
from hseie.pair_plan import Change, Difference, ForeignDeviceError, Pair, PairConflictError, Plan, UnknownPairError
from hseie.pair_request import InvalidPairError, Wanted

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PAST_MAX = timedelta(days=400)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def row(vehicle: str, meter: str | None, start: float, end: float | None = None) -> Pair:
    return Pair(vehicle, meter, at(start), at(end) if end is not None else None)


def wanted(vehicle: str, meter: str | None, start: float | None = None, end: float | None = None) -> Wanted:
    return Wanted(vehicle, meter, at(start) if start is not None else None, at(end) if end is not None else None)


def applied(rows: Iterable[Pair], difference: Difference) -> list[Pair]:
    """What the statements make of the rows of a table."""
    found = {one.key: one for one in rows}
    for gone in difference.deleted:
        del found[gone.key]
    for cut in difference.shortened:
        assert found[cut.key].meter_id == cut.meter_id
        found[cut.key] = cut
    for new in difference.inserted:
        assert new.key not in found
        found[new.key] = new
    return sorted(found.values(), key=lambda one: one.key)


def after_set(rows: Sequence[Pair], asked: Wanted) -> tuple[list[Pair], Change]:
    plan = Plan(rows, NOON, PAST_MAX)
    change = plan.set(asked)
    return applied(rows, plan.difference()), change


def test_a_new_pairing_ends_the_one_that_runs_at_its_start() -> None:
    rows, change = after_set([row("V", "A", -50)], wanted("V", "B"))
    assert rows == [row("V", "A", -50, 0), row("V", "B", 0)]
    assert (change.pair, change.ended, change.removed) == (row("V", "B", 0), [row("V", "A", -50, 0)], [])


def test_a_note_that_comes_late_counts_from_the_day_it_names() -> None:
    rows, _ = after_set([row("V", "A", -500)], wanted("V", "B", -72))
    assert rows == [row("V", "A", -500, -72), row("V", "B", -72)]


def test_a_meter_feeds_one_vehicle_at_a_time_the_last_word_counts() -> None:
    rows, change = after_set([row("OTHER", "A", -50)], wanted("V", "A"))
    assert rows == [row("OTHER", "A", -50, 0), row("V", "A", 0)]
    assert change.ended == [row("OTHER", "A", -50, 0)]


def test_two_vehicles_change_their_meters() -> None:
    rows = [row("V", "A", -50), row("W", "B", -50)]
    plan = Plan(rows, NOON, PAST_MAX)
    plan.set(wanted("V", "B"))
    plan.set(wanted("W", "A"))
    assert applied(rows, plan.difference()) == [
        row("V", "A", -50, 0), row("V", "B", 0), row("W", "B", -50, 0), row("W", "A", 0)
    ]  # fmt: skip


def test_what_was_set_wrongly_is_put_right_while_it_runs() -> None:
    for start in (-10.0, -20.0):
        rows, change = after_set([row("V", "A", -10)], wanted("V", "B", start))
        assert rows == [row("V", "B", start)]
        assert change.removed == [row("V", "A", -10)]


@pytest.mark.parametrize(
    ("standing", "asked"),
    [
        (row("V", "A", -50, -10), wanted("V", "B", -20)),  # it has ended
        (row("V", "A", -50, 0), wanted("V", "B", -1, 5)),  # this moment
        (row("W", "A", -50, -10), wanted("V", "A", -20)),
        (row("V", "A", 10), wanted("V", "B")),  # planned to begin later
        (row("V", "A", 10), wanted("V", "A", 5)),
        (row("W", "A", 10), wanted("V", "A")),
        (row("W", "A", -10), wanted("V", "A", -20)),  # another vehicle's would go as a whole
        (row("W", "A", -10), wanted("V", "A", -10)),
    ],
)
def test_what_overlaps_otherwise_is_a_conflict_and_changes_nothing(standing: Pair, asked: Wanted) -> None:
    plan = Plan([standing], NOON, PAST_MAX)
    with pytest.raises(PairConflictError):
        plan.set(asked)
    assert plan.difference() == Difference([], [], [], [])


def test_what_ends_before_or_begins_after_is_not_in_the_way() -> None:
    standing = [row("V", "A", -50, -20), row("V", "A", 10), row("W", "B", -50, -20), row("W", "B", 10)]
    rows, _ = after_set(standing, wanted("V", "B", -20, 10))
    assert rows == sorted([*standing, row("V", "B", -20, 10)], key=lambda one: one.key)


def test_the_same_again_changes_nothing() -> None:
    for standing, asked in (
        (row("V", "A", -50), wanted("V", "A")),
        (row("V", "A", -50), wanted("V", "A", -50)),
        (row("V", "A", -50), wanted("V", "A", -10)),
        (row("V", None, -50), wanted("V", None)),
        (row("V", "A", -50, 20), wanted("V", "A", 10, 20)),
        (row("V", "A", -50, -20), wanted("V", "A", -50, -20)),
        (row("V", "A", -24 * 500, -20), wanted("V", "A", -24 * 500, -20)),  # older than anything may be
    ):
        rows, change = after_set([standing], asked)
        assert (rows, change.changed) == ([standing], False)


def test_nobody_feeds_a_vehicle_and_that_takes_no_meter_from_anybody() -> None:
    rows, _ = after_set([row("V", "A", -50), row("W", None, -50)], wanted("V", None))
    assert rows == [row("V", "A", -50, 0), row("V", None, 0), row("W", None, -50)]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        (wanted("V", "A", -24 * 400 - 0.01), "/validFrom"),
        (wanted("V", "A", None, 0), "/validTo"),
        (wanted("V", "A", None, -1), "/validTo"),
        (wanted("V", "A", 1, 1), "/validTo"),
    ],
)
def test_times_that_cannot_be(asked: Wanted, pointer: str) -> None:
    with pytest.raises(InvalidPairError) as refused:
        after_set([], asked)
    assert [(error.code, error.pointer) for error in refused.value.errors] == [("timestamp_out_of_range", pointer)]


def test_as_far_back_as_readings_may_lie() -> None:
    assert after_set([], wanted("V", "A", -24 * 400))[0] == [row("V", "A", -24 * 400)]


def test_ending() -> None:
    standing = [row("V", "A", -50, 30), row("W", "B", -50)]
    for moment, expected in ((None, 0), (at(-10), -10), (at(20), 20), (at(30), 30)):
        plan = Plan(standing, NOON, PAST_MAX)
        change = plan.end("V", moment)
        assert applied(standing, plan.difference()) == [row("V", "A", -50, expected), row("W", "B", -50)]
        assert change.changed == (expected != 30)
        assert change.pair == row("V", "A", -50, expected)


def test_ending_one_where_it_began_undoes_it() -> None:
    plan = Plan([row("V", "A", -50)], NOON, PAST_MAX)
    assert plan.end("V", at(-50)).removed == [row("V", "A", -50)]
    assert plan.difference().deleted == [row("V", "A", -50)]


def test_what_cannot_be_ended() -> None:
    plan = Plan(
        [row("V", "A", -50, 30), row("W", "B", -50, 0), row("X", "C", 10), row("Y", "D", -24 * 500)], NOON, PAST_MAX
    )
    for vehicle, moment, error in (
        ("V", at(-51), PairConflictError),
        ("V", at(31), PairConflictError),
        ("W", None, UnknownPairError),  # it has ended
        ("X", None, UnknownPairError),  # it has not begun
        ("NOBODY", None, UnknownPairError),
        ("Y", at(-24 * 401), InvalidPairError),
    ):
        with pytest.raises(error):
            plan.end(vehicle, moment)
    assert plan.difference() == Difference([], [], [], [])


def test_only_what_has_not_begun_is_removed() -> None:
    plan = Plan([row("V", "A", -50, 10), row("V", "B", 10), row("W", "C", 0)], NOON, PAST_MAX)
    for vehicle, start, error in (
        ("V", -50, PairConflictError),
        ("W", 0, PairConflictError),
        ("V", 5, UnknownPairError),
    ):
        with pytest.raises(error):
            plan.remove(vehicle, at(start))
    plan.remove("V", at(10))
    assert plan.difference().deleted == [row("V", "B", 10)]


def test_who_speaks_for_some_devices_changes_pairings_of_those_only() -> None:
    standing = [row("V", "THEIRS", -50), row("THEIRS", "A", -50), row("W", "B", -50), row("X", "THEIRS_2", 10)]
    plan = Plan(standing, NOON, PAST_MAX, lambda device: not device.startswith("THEIRS"))
    for asked in (wanted("THEIRS", "B"), wanted("W", "THEIRS"), wanted("V", "B"), wanted("W", "A")):
        with pytest.raises(ForeignDeviceError):
            plan.set(asked)
    for vehicle in ("V", "THEIRS"):
        with pytest.raises(ForeignDeviceError):
            plan.end(vehicle, None)
    with pytest.raises(ForeignDeviceError):
        plan.remove("X", at(10))
    assert plan.difference() == Difference([], [], [], [])
    plan.set(wanted("W", "C"))
    plan.end("W", at(20))


def test_spans_are_where_something_is_different_now() -> None:
    plan = Plan([row("V", "A", -50, 30)], NOON, PAST_MAX)
    plan.set(wanted("V", "B", -10, 5))
    spans = {(one.meter_id, start, end) for one, start, end in plan.difference().spans}
    assert spans == {("A", at(-10), at(30)), ("B", at(-10), at(5))}


# --- whatever is done -------------------------------------------------------------------------------------------------

VEHICLES, METERS = ("V", "W", "X"), ("A", "B", None)
hours = st.integers(-30, 30)
asked = st.builds(wanted, st.sampled_from(VEHICLES), st.sampled_from(METERS), st.none() | hours, st.none() | hours).map(
    lambda one: ("set", one)
)
ends = st.tuples(st.just("end"), st.tuples(st.sampled_from(VEHICLES), st.none() | hours.map(at)))
removals = st.tuples(st.just("remove"), st.tuples(st.sampled_from(VEHICLES), hours.map(at)))
steps = st.tuples(st.floats(0, 5, allow_nan=False), st.one_of(asked, asked, asked, ends, removals))


def overlapping(rows: Iterable[Pair]) -> list[tuple[Pair, Pair]]:
    in_order = sorted(rows, key=lambda one: one.valid_from)
    return [(first, second) for first, second in pairwise(in_order) if first.overlaps(second)]


def before(rows: Iterable[Pair], moment: datetime) -> set[tuple[str, str | None, datetime, datetime]]:
    """What rows say of the time before a moment."""
    return {
        (one.vehicle_id, one.meter_id, one.valid_from, min(one.end, moment)) for one in rows if one.valid_from < moment
    }


@settings(deadline=None, max_examples=400)
@given(st.lists(steps, max_size=25))
def test_rows_never_overlap_and_the_past_stays_as_it_was(done: list[tuple[float, tuple[str, object]]]) -> None:
    rows: list[Pair] = []
    now = NOON
    for pause, (name, what) in done:
        now += timedelta(hours=pause, microseconds=1)
        plan = Plan(rows, now, PAST_MAX)
        try:
            change = plan.set(what) if name == "set" else getattr(plan, name)(*what)  # type: ignore[arg-type, misc]
        except HseieError:
            assert plan.difference() == Difference([], [], [], [])
            continue
        found = applied(rows, plan.difference())
        for vehicle in VEHICLES:
            assert not overlapping(one for one in found if one.vehicle_id == vehicle)
        for meter in METERS[:2]:
            assert not overlapping(one for one in found if one.meter_id == meter)
        # Row by row, whatever was asked for: what had ended is there, and is what it was.
        assert {one for one in rows if one.has_ended(now)} <= set(found)
        if name == "set" and change.changed:
            assert before(found, change.pair.valid_from) == before(rows, change.pair.valid_from)
            assert change.pair in found
        if not change.changed:
            assert found == rows
        rows = found
