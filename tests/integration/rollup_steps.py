"""What happens in the generated lives of a fleet: readings, pairings, rounds of maintenance, in any order."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.integration.rollup_oracle import DAY

NOON = datetime(2026, 2, 9, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 10, tzinfo=UTC)
METERS = ("METER_1", "VEHICLE_1", "METER_2", "METER_R1", "VEHICLE_S1")
VEHICLES = ("VEHICLE_1", "VEHICLE_2", "VEHICLE_R1", "VEHICLE_S1")


def meter(at: datetime, kwh: float, device: str = "METER_1") -> Any:
    return "meter", device, at, (Decimal(str(kwh)), Decimal(230))


def vehicle(at: datetime, kwh: float, device: str = "VEHICLE_1") -> Any:
    return "vehicle", device, at, (Decimal(50), Decimal(str(kwh)), Decimal(20))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


# Around the hours of a night: readings that are neighbours across a boundary are what is easy to get wrong.
offsets = st.sampled_from([-61, -60, -31, -30, -29, -16, -15, -1, 0, 1, 15, 29, 30, 31, 45, 60, 61, 600, 1800])
moments = st.builds(
    lambda hours, seconds: MIDNIGHT + timedelta(hours=hours, seconds=seconds), st.integers(-3, 3), offsets
)
# Few values, so that corrections and equal neighbours come up; those of registers pass through every event.
energies = st.sampled_from(["0", "0.5", "1.25", "3", "9999", "9998.5", "5000", "700"]).map(Decimal)
readings = st.one_of(
    st.tuples(
        st.just("meter"),
        st.sampled_from(METERS),
        moments,
        st.tuples(energies, st.sampled_from([Decimal(229), Decimal("231.5")])),
    ),
    st.tuples(
        st.just("vehicle"),
        st.sampled_from(VEHICLES),
        moments,
        st.tuples(
            st.sampled_from([Decimal(10), Decimal("90.5")]), energies, st.sampled_from([Decimal(-5), Decimal(31)])
        ),
    ),
)
pairings = st.tuples(
    st.sampled_from(VEHICLES),
    st.sampled_from(METERS),
    moments,
    st.integers(1, 7200).map(lambda s: timedelta(seconds=s)),
)
steps = st.lists(
    st.one_of(
        st.lists(readings, min_size=1, max_size=12).map(lambda rows: ("store", rows)),
        pairings.map(lambda pairing: ("pair", pairing)),
        st.integers(-4, 4).map(lambda hours: ("round", MIDNIGHT + timedelta(hours=hours, minutes=3))),
        st.just(("restart", None)),
        st.sampled_from([MIDNIGHT - DAY, MIDNIGHT]).map(lambda day: ("archive", day)),
    ),
    min_size=2,
    max_size=14,
)
