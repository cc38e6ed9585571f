"""Packed bodies: whole ones are taken, in every form there is, and no others; a bomb costs no more than the limit."""

import asyncio
import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.acceptor import inflate as module
from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.inflate import MEMBERS_MAX, PIECE_BYTES, inflate

TEXT = b'{"meterId": "METER_001", "kwhConsumedAc": 10.5}' * 50
LIMIT = 10_000_000


def _raw_deflate(data: bytes, level: int = -1) -> bytes:
    packer = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _unpack(packed: bytes, coding: str = "gzip", bytes_max: int = LIMIT) -> bytes:
    return asyncio.run(inflate(packed, coding, bytes_max, lambda size: None))


def _refusal(packed: bytes, coding: str = "gzip", bytes_max: int = LIMIT) -> str:
    with pytest.raises(RejectedBodyError) as refused:
        _unpack(packed, coding, bytes_max)
    return refused.value.code


def test_whole_bodies_are_taken() -> None:
    assert _unpack(gzip.compress(TEXT)) == TEXT
    assert _unpack(gzip.compress(b"")) == b""
    assert _unpack(zlib.compress(TEXT), "deflate") == TEXT
    assert _unpack(_raw_deflate(TEXT), "deflate") == TEXT
    assert _unpack(_raw_deflate(b""), "deflate") == b""


def test_several_members_are_one_body() -> None:
    assert _unpack(gzip.compress(TEXT[:100]) + gzip.compress(b"") + gzip.compress(TEXT[100:])) == TEXT
    assert _unpack(gzip.compress(b"x") * MEMBERS_MAX) == b"x" * MEMBERS_MAX
    assert _refusal(gzip.compress(b"") * (MEMBERS_MAX + 1)) == "bad_encoding"


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_no_byte_is_lost_between_pieces(size: int, level: int) -> None:
    data = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)
    assert _unpack(gzip.compress(data, level)) == data
    assert _unpack(gzip.compress(data, level) + gzip.compress(data, level)) == data * 2
    assert _unpack(zlib.compress(data, level), "deflate") == data
    assert _unpack(_raw_deflate(data, level), "deflate") == data


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_ends_early_is_not_taken(coding: str) -> None:
    packed = gzip.compress(TEXT) if coding == "gzip" else zlib.compress(TEXT)
    for length in range(len(packed)):
        assert _refusal(packed[:length], coding) == "bad_encoding"
    bare = _raw_deflate(TEXT)
    for length in range(len(bare)):
        assert _refusal(bare[:length], "deflate") == "bad_encoding"


def test_a_second_member_that_ends_early_is_not_taken() -> None:
    whole = gzip.compress(TEXT)
    for length in range(1, len(whole)):
        assert _refusal(whole + whole[:length]) == "bad_encoding"


@pytest.mark.parametrize("tail", [b"\0", b"x", b"\n", b"\x1f", b"garbage" * 100])
def test_what_follows_is_not_left_out(tail: bytes) -> None:
    assert _refusal(gzip.compress(TEXT) + tail) == "bad_encoding"
    assert _refusal(zlib.compress(TEXT) + tail, "deflate") == "bad_encoding"
    assert _refusal(_raw_deflate(TEXT) + tail, "deflate") == "bad_encoding"


def test_damage_and_other_formats_are_seen() -> None:
    packed = bytearray(gzip.compress(TEXT))
    for place in (0, 2, 15, len(packed) - 8, len(packed) - 1):  # magic, method, data, checksum, length
        damaged = bytes(packed[:place]) + bytes([packed[place] ^ 0xFF]) + bytes(packed[place + 1 :])
        assert _refusal(damaged) == "bad_encoding"
    for body in (TEXT, b"not gzip", zlib.compress(TEXT), _raw_deflate(TEXT)):
        assert _refusal(body) == "bad_encoding"
    assert _refusal(gzip.compress(TEXT), "deflate") == "bad_encoding"
    assert _refusal(gzip.compress(gzip.compress(TEXT))[:-1]) == "bad_encoding"


def test_the_limit_is_of_inflated_bytes_and_exact() -> None:
    for packed, coding in ((gzip.compress(TEXT), "gzip"), (zlib.compress(TEXT), "deflate")):
        assert _unpack(packed, coding, len(TEXT)) == TEXT
        assert _refusal(packed, coding, len(TEXT) - 1) == "too_large"
    assert _refusal(gzip.compress(TEXT) * 2, "gzip", len(TEXT) * 2 - 1) == "too_large"


def test_a_bomb_takes_no_more_memory_than_the_limit_and_a_piece() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    limit = 2_000_000
    tracemalloc.start()
    try:
        assert _refusal(bomb, "gzip", limit) == "too_large"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{len(bomb)} bytes for 200 MB, peak {peak} bytes")
    assert peak < limit + 2 * PIECE_BYTES + 200_000  # zlib's own output may be a piece twice while it is cut


async def test_others_have_their_turn_between_pieces() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await inflate(gzip.compress(bytes(20 * PIECE_BYTES)), "gzip", 21 * PIECE_BYTES, lambda size: None)
    running.cancel()
    assert turns >= 19


def test_many_small_members_are_not_copied_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0
    genuine = zlib.decompressobj

    class Counting:
        def __init__(self, bits: int) -> None:
            self._inner = genuine(bits)

        def decompress(self, data: memoryview, length: int) -> bytes:
            nonlocal copied
            piece = self._inner.decompress(data, length)
            copied += len(self._inner.unused_data) + len(self._inner.unconsumed_tail)
            return piece

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    monkeypatch.setattr(module.zlib, "decompressobj", Counting)
    assert _refusal(gzip.compress(b"") * 100_000) == "bad_encoding"
    assert copied < MEMBERS_MAX * 70_000


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_no_body_is_an_error_of_another_kind(body: bytes, coding: str) -> None:
    for packed in (body, gzip.compress(TEXT)[: len(body)] + body):
        try:
            _unpack(packed, coding)
        except RejectedBodyError as refused:
            assert refused.code == "bad_encoding"
