"""When a shard takes no more, and when it takes again; how slow its disk is; which free pages it does not need."""

import pytest

from hseie.bus import MESSAGES_IN_QUEUE_MAX
from hseie.config import FRAMES_IN_FLIGHT_LIMIT, Config
from hseie.config_load import load
from hseie.errors import ConfigError
from hseie.writer.disk import SyncTimes
from hseie.writer.room import Limits, Room, is_disk_full, is_journal_full
from hseie.writer.sqlite_file import _FREE_PAGES_KEPT, SparePages

MIB = 1 << 20


def test_a_full_journal_takes_again_only_below_the_low_water_mark() -> None:
    full, seen = False, []
    for used in (900, 1000, 1001, 1000, 950, 900, 899, 950, 1000, 1001):
        full = is_journal_full(full, used, used_max=1000, low_water_pct=90)
        seen.append(full)
    assert seen == [False, False, True, True, True, True, False, False, False, True]


def test_at_a_hundred_percent_there_is_no_second_mark() -> None:
    assert is_journal_full(True, 1000, 1000, 100)
    assert not is_journal_full(True, 999, 1000, 100)


def test_a_full_disk_counts_as_full_until_there_is_some_more() -> None:
    full, seen = False, []
    for free in (300 * MIB, 256 * MIB, 255 * MIB, 256 * MIB, 319 * MIB, 320 * MIB, 256 * MIB):
        full = is_disk_full(full, free, 256 * MIB)
        seen.append(full)
    assert seen == [False, False, True, True, True, False, False]


def test_the_margin_of_a_high_floor_is_bounded() -> None:
    assert not is_disk_full(True, 10_064 * MIB, 10_000 * MIB)


@pytest.mark.parametrize(("free", "floor"), [(0, 0), (None, 256 * MIB)])
def test_without_a_floor_or_a_look_the_disk_is_not_full(free: int | None, floor: int) -> None:
    assert not is_disk_full(False, free, floor)


def test_each_limit_has_its_own_reason() -> None:
    room = Room(Limits(1000, 90, 500, 100, 5.0))
    assert room.look(900, 0, 600) is None
    assert room.look(900, 101, 600) == "journal_full"  # what waits for a sync is journal soon
    assert room.look(890, 0, 600) is None
    assert room.look(100, 101, 600) == "overloaded"
    assert room.look(100, 100, 600) is None
    assert room.look(100, 0, 499) == "disk_full"
    assert room.look(2000, 0, 499) == "disk_full"  # first things first: pruning needs the disk
    assert room.look(2000, 0, 700) == "journal_full"


def test_how_much_a_full_journal_has_to_shrink() -> None:
    room = Room(Limits(1000, 90, 0, 100, 5.0))
    assert (room.excess_bytes(1005), room.excess_bytes(900), room.excess_bytes(10)) == (105, 0, 0)


# --- syncs ------------------------------------------------------------------------------------------------------------


def syncs(times: SyncTimes, start: float, count: int, took_s: float, pause_s: float = 0.0) -> float:
    """Note syncs one after the other; return when the last one has ended."""
    now = start
    for _ in range(count):
        times.begin(now)
        now += took_s
        times.end(now)
        now += pause_s
    return now


def test_a_good_disk_with_a_hiccup_is_not_slow() -> None:
    times = SyncTimes(stuck_after_s=5.0)
    now = syncs(times, 100, 2000, 0.005)
    now = syncs(times, now, 1, 0.5)
    assert times.state(now) == "ok"
    assert times.last_s == pytest.approx(0.5)


def test_a_disk_that_takes_a_fifth_of_a_second_is_slow_and_recovers() -> None:
    times = SyncTimes(stuck_after_s=5.0)
    now = syncs(times, 100, 2000, 0.005)
    assert times.state(now) == "ok"
    now = syncs(times, now, 60, 0.2)
    assert times.state(now) == "slow"
    assert times.state(now + 30) == "slow"  # nothing was sent: nothing is known to be better ...
    assert times.state(now + 61) == "ok"  # ... but not for ever
    now = syncs(times, now, 2000, 0.005)
    assert times.state(now) == "ok"


def test_also_where_syncs_are_rare() -> None:
    times = SyncTimes(stuck_after_s=5.0)
    assert times.state(syncs(times, 100, 10, 0.2, pause_s=2.0)) == "slow"


def test_one_slow_sync_is_told_while_it_is_under_way_and_for_a_moment_after() -> None:
    times = SyncTimes(stuck_after_s=5.0)
    now = syncs(times, 100, 2000, 0.005)
    times.begin(now)
    assert times.state(now + 0.9) == "ok"
    assert times.state(now + 1.1) == "slow"
    assert times.under_way_s(now + 1.1) == pytest.approx(1.1)
    assert times.state(now + 5.1) == "stuck"
    times.end(now + 60)
    assert times.state(now + 60) == "slow"
    assert times.under_way_s(now + 60) == 0
    now = syncs(times, now + 60, 3000, 0.005)  # for 15 s, however long that one took
    assert times.state(now) == "ok"


# --- free pages -------------------------------------------------------------------------------------------------------


def test_what_is_free_now_and_then_is_kept() -> None:
    spare = SparePages()
    for _ in range(100):
        assert spare.look(10 * _FREE_PAGES_KEPT) == 0  # pruning has been here ...
        assert spare.look(_FREE_PAGES_KEPT) == 0  # ... and new frames after it


def test_what_is_free_for_long_is_given_back_once() -> None:
    spare = SparePages()
    answers = [spare.look(_FREE_PAGES_KEPT + 1000) for _ in range(20)]
    assert answers[:14] == [0] * 14
    assert answers[14] == 1000
    spare.gave_back(400)
    assert spare.look(_FREE_PAGES_KEPT + 600) == 600


# --- relations between the limits -------------------------------------------------------------------------------------


def test_frames_under_way_fit_into_a_queue_of_zeromq() -> None:
    assert 2 * FRAMES_IN_FLIGHT_LIMIT <= MESSAGES_IN_QUEUE_MAX
    with pytest.raises(ConfigError, match=r"ingest\.frames_in_flight_max .*<= 500"):
        load(overrides={"ingest.frames_in_flight_max": 501})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ingest.frame_bytes_max": 99_000_000}, r"writer\.gathering_bytes_max must not be below ingest\.frame_bytes"),
        ({"http.body_bytes_max": 300_000_000}, r"http\.body_bytes_max .*<= 268435456"),
        ({"ingest.frame_bytes_max": 1000}, r"ingest\.frame_bytes_max must not be below http\.body_bytes_max"),
        ({"writer.journal_low_water_pct": 30}, r"writer\.journal_low_water_pct .*>= 50"),
        ({"writer.journal_low_water_pct": 101}, r"writer\.journal_low_water_pct .*<= 100"),
    ],
)
def test_limits_that_do_not_fit_together_are_refused(overrides: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(overrides=overrides)


def test_the_defaults_leave_room_for_every_acceptor() -> None:
    config = Config()
    assert config.writer.gathering_bytes_max >= config.http.acceptors * config.ingest.frame_bytes_max
