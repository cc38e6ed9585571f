"""The wire between acceptor and writer: what goes in comes out, what is not ours is refused, shards never move."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hseie.errors import FrameError
from hseie.frames import ACKED, FRAME, Ack, Frame, Part, decode, encode, encode_acks, parse_acks, parse_frame, shard_of
from hseie.readings import KINDS, time_text

devices = st.text(st.characters(min_codepoint=1, max_codepoint=127, exclude_characters="\n\t"), min_size=1, max_size=8)
moments = st.datetimes(timezones=st.just(UTC)).map(time_text)
numbers = st.decimals(-999, 999, places=2).map(str)
TIME = b"2026-11-20T12:00:05"


def _line(device: str, time: str, values: list[str], kind: int) -> str:
    columns = len(KINDS[kind].columns)
    return "\t".join([device, time, *(values * columns)[: columns - 2]]) + "\n"


def _part(kind: int, rows: list[tuple[str, str, list[str]]]) -> Part:
    return Part(kind, len(rows), "".join(_line(*row, kind) for row in rows).encode())


rows = st.lists(st.tuples(devices, moments, st.lists(numbers, min_size=1, max_size=3)), min_size=1, max_size=5)
parts = st.builds(_part, st.integers(0, len(KINDS) - 1), rows)
frames = st.builds(
    Frame,
    boot=st.integers(0, 2**53 - 1),
    number=st.integers(0, 2**40),
    wait=st.booleans(),
    parts=st.lists(parts, min_size=1, max_size=2, unique_by=lambda part: part.kind).map(tuple),
)


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert parse_frame(decode(frame.encode())) == frame


@given(
    st.lists(st.builds(Ack, st.integers(0, 2**40), st.integers(0, 2**53), st.just({}) | st.just({0: [1, 5], 1: [0]})))
)
def test_acknowledgements_survive_the_wire(acks: list[Ack]) -> None:
    assert parse_acks(decode(encode_acks(7, acks))) == (7, acks)


@example(b"\x81\x90\x01")  # a map whose key is a list
@given(st.binary(max_size=200))
def test_garbage_is_refused_or_is_a_message_with_a_type(body: bytes) -> None:
    try:
        message = decode(body)
    except FrameError:
        return
    assert isinstance(message[0], int)
    with pytest.raises(FrameError):
        parse_frame(message)


@pytest.mark.parametrize(
    "part",
    [
        (0, 2, b"a\tT\t1\t2\n"),  # fewer lines than it says
        (0, 1, b"a\tT\t1\t2\nb\tT\t1\t2\n"),
        (0, 1, b"a\tT\t1\t2"),
        (0, 1, b"a\tT\t1\n"),  # fewer columns than the kind has
        (0, 2, b"a\tT\t1\t2\t\t\t\n\n"),
        (0, 2, b"a\nb\tT\t1\t2\tT\t1\n"),  # as many columns as two lines have, but not in each
        (0, 2**62, b"a\tT\t1\t2\n"),
        (0, 1, b"\tT\t1\t2\n"),
        (0, 1, b"a\tT\t1\tNaN\n"),
        (0, 1, b"a\tT\t1\t2\\.\n"),  # here PostgreSQL would end the COPY, and drop the lines behind it
        (0, 0, b""),
        (9, 1, b"a\tT\t1\t2\n"),  # a kind that is not declared
        (0, 1, "a\tT\t1\t2\n"),
        (0, 1.0, b"a\tT\t1\t2\n"),
        (0, True, b"a\tT\t1\t2\n"),
        (False, 1, b"a\tT\t1\t2\n"),
        (0, 1, b"\xe4\tT\t1\t2\n"),  # what is no text, or has a NUL, PostgreSQL cannot even refuse row by row
        (0, 1, b"a\0\tT\t1\t2\n"),
        (0, 1),
        None,
    ],
)
def test_a_frame_with_an_unsound_part_is_refused(part: Any) -> None:
    if part and isinstance(part[-1], bytes):
        part = (*part[:-1], part[-1].replace(b"\tT\t", b"\t%b\t" % TIME))
    with pytest.raises(FrameError):
        parse_frame(decode(encode(FRAME, 1, 1, False, [part])))


@pytest.mark.parametrize(
    "time",
    [
        b"",
        b"t",
        b"infinity",  # and its like are times to PostgreSQL, of days that no partition has
        b"-infinity",
        b"now",
        b"2026-11-20",
        b"2026-11-20 12:00:05",
        b"2026-11-20T12:00:05Z",
        b"2026-11-20T12:00:05+23:00",
        b"2026-11-20T12:00:05.",
        b"2026-11-20T24:00:00",  # of the day after
        b"2026-11-20T23:59:60",
        b"2026-11-20T23:59:060",
        b"2026-11-20T23:59:59.9999999",
        b"2026-02-29T12:00:05",
        b"0000-01-01T12:00:05",
        b"12026-11-20T12:00:05",
        b"2026-11-20T12:00:05 BC",
    ],
)
def test_a_time_that_is_not_as_we_write_it_is_refused(time: bytes) -> None:
    """Journaled, it would be met again at every start of the shard."""
    line = b"a\t%b\t1\t2\n"
    assert parse_frame([FRAME, 1, 1, False, [(0, 2, line % TIME * 2)]]).parts[0].count == 2
    for rows in (line % time, line % time + line % TIME, line % TIME + line % time):
        with pytest.raises(FrameError):
            parse_frame([FRAME, 1, 1, False, [(0, rows.count(b"\n"), rows)]])


def test_a_frame_with_a_kind_twice_is_refused() -> None:
    part = (0, 1, b"a\t%b\t1\t2\n" % TIME)
    parse_frame(decode(encode(FRAME, 1, 1, False, [part])))
    with pytest.raises(FrameError):
        parse_frame(decode(encode(FRAME, 1, 1, False, [part, part])))


def test_an_acknowledgement_of_another_form_is_refused() -> None:
    with pytest.raises(FrameError):
        parse_acks(decode(encode(ACKED, 1, [(1,)])))


def test_shards_are_those_of_every_earlier_version() -> None:
    # Journals and partitions of work on disk depend on these values: a change here would lose track of devices.
    assert [shard_of(f"METER_{number:03d}", 4) for number in range(1, 9)] == [2, 0, 2, 1, 3, 1, 3, 2]
    assert [shard_of(f"VEHICLE_{number:03d}", 7) for number in range(1, 9)] == [5, 2, 2, 5, 5, 0, 4, 1]


@given(st.text("abcXYZ019._:-", min_size=1, max_size=50), st.integers(1, 64))
def test_a_shard_is_one_of_them(device: str, shards: int) -> None:
    assert 0 <= shard_of(device, shards) < shards


def test_shards_share_a_fleet_evenly() -> None:
    counts = [0] * 4
    for number in range(20_000):
        counts[shard_of(f"VEHICLE_{number:05d}", 4)] += 1
    assert max(counts) < 1.1 * min(counts)
