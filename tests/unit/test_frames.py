"""The wire between acceptor and writer: what goes in comes out, what is not ours is refused, shards never move."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hseie.errors import FrameError
from hseie.frames import ACKED, FRAME, Ack, Frame, Part, decode, encode, encode_acks, parse_acks, parse_frame, shard_of
from hseie.readings import KINDS

letters = st.characters(min_codepoint=1, max_codepoint=127, exclude_characters="\n\t")
cells = st.text(letters, max_size=8).map(str.encode)


def _part(kind: int, rows: list[list[bytes]]) -> Part:
    columns = len(KINDS[kind].columns)
    lines = [b"\t".join((row * columns)[:columns]) + b"\n" for row in rows]
    return Part(kind, len(lines), b"".join(lines))


rows = st.lists(st.lists(cells, min_size=1, max_size=5), min_size=1, max_size=5)
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
        (0, 2, b"a\tt\t1\t2\n"),  # fewer lines than it says
        (0, 1, b"a\tt\t1\t2\nb\tt\t1\t2\n"),
        (0, 1, b"a\tt\t1\t2"),
        (0, 1, b"a\tt\t1\n"),  # fewer columns than the kind has
        (0, 2, b"a\tt\t1\t2\t\t\t\n\n"),
        (0, 0, b""),
        (9, 1, b"a\tt\t1\t2\n"),  # a kind that is not declared
        (0, 1, "a\tt\t1\t2\n"),
        (0, 1.0, b"a\tt\t1\t2\n"),
        (0, True, b"a\tt\t1\t2\n"),
        (False, 1, b"a\tt\t1\t2\n"),
        (0, 1, b"\xe4\tt\t1\t2\n"),  # what is no text, or has a NUL, PostgreSQL cannot even refuse row by row
        (0, 1, b"a\0\tt\t1\t2\n"),
        (0, 1),
        None,
    ],
)
def test_a_frame_with_an_unsound_part_is_refused(part: object) -> None:
    with pytest.raises(FrameError):
        parse_frame(decode(encode(FRAME, 1, 1, False, [part])))


def test_a_frame_with_a_kind_twice_is_refused() -> None:
    part = (0, 1, b"a\tt\t1\t2\n")
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
