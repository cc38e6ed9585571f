"""The declaration of the kinds and what is made of it: canonical times and rows of COPY text."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.readings import KINDS, METER, READING_TYPES, ROW_MAKERS, VEHICLE, canonical_time, is_device_id, time_text

moments = st.datetimes(
    datetime(2000, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
)


def _spellings(moment: datetime) -> list[str]:
    """Ways to write one moment in RFC 3339."""
    in_utc = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    own = moment.isoformat(timespec="microseconds")
    return [in_utc + "Z", in_utc + "+00:00", own, in_utc.replace("T", " ") + "Z", in_utc.replace("T", "t") + "z"]


@given(moments)
def test_one_moment_has_one_canonical_text(moment: datetime) -> None:
    texts = set()
    for spelling in _spellings(moment):
        parsed = msgspec.convert(spelling, datetime)
        assert parsed == moment
        texts.add(canonical_time(spelling, parsed))
    assert texts == {time_text(moment)}


@given(moments, moments)
def test_canonical_texts_sort_as_the_moments_do(one: datetime, other: datetime) -> None:
    assert (time_text(one) < time_text(other)) == (one < other)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("2026-02-09T12:00:00Z", "2026-02-09T12:00:00"),
        ("2026-02-09T12:00:00.000Z", "2026-02-09T12:00:00"),
        ("2026-02-09T12:00:00.100Z", "2026-02-09T12:00:00.1"),
        ("2026-02-09T12:00:00.123456Z", "2026-02-09T12:00:00.123456"),
        ("2026-02-09T12:00:00.1230000000Z", "2026-02-09T12:00:00.123"),
        ("2026-02-09T14:00:00+02:00", "2026-02-09T12:00:00"),
    ],
)
def test_canonical_time_of(spelling: str, canonical: str) -> None:
    assert canonical_time(spelling, msgspec.convert(spelling, datetime)) == canonical


def test_a_moment_beyond_the_calendar_overflows() -> None:
    spelling = "0001-01-01T00:00:00+10:00"
    with pytest.raises(OverflowError):
        canonical_time(spelling, msgspec.convert(spelling, datetime))


energies = st.floats(0, 999_999.99994)


@given(energies, st.floats(0, 500))
def test_a_row_holds_the_values_rounded_as_the_columns_are(energy: float, voltage: float) -> None:
    reading = READING_TYPES[METER.number]("M", datetime(2026, 1, 1, tzinfo=UTC), energy, voltage)
    row = ROW_MAKERS[METER.number]("M", "2026-01-01T00:00:00", reading)
    assert row.endswith("\n")
    device, time, kwh, volts = row.rstrip("\n").split("\t")
    assert (device, time) == ("M", "2026-01-01T00:00:00")
    assert abs(Decimal(kwh) - Decimal(energy)) <= Decimal("0.00005")
    assert Decimal(kwh) < 1_000_000  # DECIMAL(10,4) takes it
    assert abs(Decimal(volts) - Decimal(voltage)) <= Decimal("0.005")


@pytest.mark.parametrize("temperature", [-0.0, -0.001, 0.001, 0])
def test_zero_has_one_spelling(temperature: float) -> None:
    reading = READING_TYPES[VEHICLE.number]("V", datetime(2026, 1, 1, tzinfo=UTC), 50, 1.5, temperature)
    assert ROW_MAKERS[VEHICLE.number]("V", "t", reading) == "V\tt\t50.00\t1.5000\t0.00\n"


def test_columns_are_those_of_the_contract() -> None:
    assert METER.columns == ("meter_id", "timestamp", "kwh_consumed_ac", "voltage")
    assert VEHICLE.columns == ("vehicle_id", "timestamp", "soc", "kwh_delivered_dc", "battery_temp")


def test_kinds_are_numbered_by_their_place() -> None:
    assert [kind.number for kind in KINDS] == list(range(len(KINDS)))


@pytest.mark.parametrize("name", ["a", "METER_001", "a.b:c-d_e", "x" * 50])
def test_ids_that_are_ids(name: str) -> None:
    assert is_device_id(name)


@pytest.mark.parametrize("name", ["", "x" * 51, "a b", "a\n", "a\t", "a\0", "a\\", "ü", "😀", "a/b", "a\r"])
def test_ids_that_are_none(name: str) -> None:
    assert not is_device_id(name)
