"""Which meters may feed a vehicle judging by its id, and how sums become an answer."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from hseie.analytics.correlation import Energy, hundredths
from hseie.analytics.performance import flags, summary
from hseie.analytics.sums import Sums
from hseie.config import Config
from hseie.pairing import Segment, Window, candidates

NOW = datetime(2026, 2, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("vehicle", "meters"),
    [
        ("VEHICLE_001", ["VEHICLE_001", "METER_001", "001"]),
        ("001", ["001", "METER_001"]),
        ("METER_001", ["METER_001", "METER_METER_001"]),
        ("VEHICLE_", ["VEHICLE_", "METER_"]),
        # Taken off its prefix, METER_7 is 7 and not METER_7.
        ("VEHICLE_METER_7", ["VEHICLE_METER_7", "METER_METER_7"]),
        ("V" * 50, ["V" * 50]),
    ],
)
def test_candidates(vehicle: str, meters: list[str]) -> None:
    assert candidates(vehicle, "VEHICLE_", "METER_") == meters


def test_without_prefixes_only_the_same_id_is_a_pair() -> None:
    assert candidates("VEHICLE_001", "", "") == ["VEHICLE_001"]


def test_halves_are_rounded_as_postgresql_rounds_them() -> None:
    assert hundredths(Decimal("0.125")) == 0.13
    assert hundredths(Decimal("2.675")) == 2.68


def _energy(ac: str, dc: str, correlated: int = 10) -> Energy:
    return Energy(12, 10, correlated, Decimal(ac), Decimal(dc))


@pytest.mark.parametrize(
    ("sums", "marks"),
    [
        (_energy("100", "90"), []),
        (_energy("100", "84.99"), ["below_threshold"]),
        (_energy("100", "101"), ["above_100_percent"]),
        (_energy("0", "1"), ["above_100_percent"]),
        (_energy("0", "0", correlated=0), ["no_correlated_readings"]),
    ],
)
def test_flags(sums: Energy, marks: list[str]) -> None:
    window = Window(NOW - timedelta(days=1), NOW, timedelta(seconds=30))
    segments = [Segment("V", "M", window.start, window.end)]
    assert flags(segments, Sums(window, segments, sums, []), 85.0) == marks
    assert flags(segments, Sums(window, segments, sums, ["jump", "reset"]), 85.0) == [
        *marks,
        "register_jump",
        "register_reset",
    ]


def test_a_vehicle_without_a_meter_says_so() -> None:
    window = Window(NOW - timedelta(hours=24), NOW, timedelta(seconds=30))
    segment = Segment("V", None, window.read_start, window.read_end)
    answer = summary("V", "24h", Sums(window, [segment], Energy(vehicle_readings=3), []), Config())
    assert answer.flags == ["no_meter", "no_correlated_readings"]
    assert (answer.meter_id, answer.efficiency_ratio, answer.coverage.share) == (None, None, 0.0)
    assert answer.meters[0].from_ == "2026-02-08T12:00:00.000Z"


def test_segments_that_lie_in_the_margin_only_are_not_shown() -> None:
    window = Window(NOW - timedelta(hours=1), NOW, timedelta(seconds=30))
    found = [
        Segment("V", "OLD", window.read_start, window.start),
        Segment("V", "M", window.start, window.end),
        Segment("V", "NEXT", window.end, window.read_end),
    ]
    answer = summary("V", "1h", Sums(window, found, Energy(), []), Config())
    assert [segment.meter_id for segment in answer.meters] == ["M"]
    assert answer.meter_id == "M"
    assert answer.coverage.share is None
