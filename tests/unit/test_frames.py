"""The wire between acceptor and writer: what goes in comes out, what is not ours is refused, shards never move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.errors import FrameError
from hseie.frames import ACKED, FRAME, Ack, Frame, Part, decode, encode, encode_acks, parse_acks, parse_frame, shard_of
from hseie.readings import KINDS

lines = st.lists(st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=5)
parts = st.builds(
    lambda kind, some: Part(kind, len(some), b"".join(line + b"\n" for line in some)),
    st.integers(0, len(KINDS) - 1),
    lines,
)
frames = st.builds(
    Frame,
    boot=st.integers(0, 2**53 - 1),
    number=st.integers(0, 2**40),
    wait=st.booleans(),
    received_ms=st.integers(0, 2**43),
    parts=st.lists(parts, min_size=1, max_size=2).map(tuple),
)


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert parse_frame(decode(frame.encode())) == frame


@given(
    st.lists(st.builds(Ack, st.integers(0, 2**40), st.integers(0, 2**53), st.just({}) | st.just({0: [1, 5], 1: [0]})))
)
def test_acknowledgements_survive_the_wire(acks: list[Ack]) -> None:
    assert parse_acks(decode(encode_acks(7, acks))) == (7, acks)


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
        (0, 2, b"one\n"),  # fewer lines than it says
        (0, 1, b"one\ntwo\n"),
        (0, 1, b"no newline"),
        (0, 0, b""),
        (9, 1, b"one\n"),  # a kind that is not declared
        (0, 1, "text\n"),
        (0, 1),
        None,
    ],
)
def test_a_frame_with_an_unsound_part_is_refused(part: object) -> None:
    with pytest.raises(FrameError):
        parse_frame(decode(encode(FRAME, 1, 1, False, 1, [part])))


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
