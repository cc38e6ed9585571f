"""Unpacks bodies, piece by piece and no further than the limit. aiohttp's own way takes a body that ends too early.

A piece takes about a millisecond at most; between two of them others have their turn.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator

from hseie.acceptor.bodies import RejectedBodyError

PIECE_BYTES = 262_144  # inflated at once
_WINDOW_BYTES = 65_536  # of the packed body looked at at once: what a member leaves of it is copied
# A body of nothing but empty members would cost a new start each 20 bytes; who packs in parallel makes some hundred.
MEMBERS_MAX = 1024


async def inflate(packed: bytes, coding: str, bytes_max: int, hold: Callable[[int], None]) -> bytes:
    """Return what a body holds that is packed with `coding`: "gzip" (RFC 1952) or "deflate" (RFC 1950, or 1951).

    `hold` is told of the bytes of each piece before it is kept, and may raise. Others have their turn meanwhile, so
    many bodies may grow at once.
    Raises RejectedBodyError when it is damaged or not whole (400), or holds more than `bytes_max` (413); at no time are
    there more inflated bytes in memory than that and a piece.
    """
    inflated: list[bytes] = []
    size = 0
    try:
        for piece in pieces(packed, coding):
            if size:
                await asyncio.sleep(0)
            size += len(piece)
            if size > bytes_max:
                raise RejectedBodyError("too_large", f"at most {bytes_max} bytes, counted after inflating")
            hold(len(piece))
            inflated.append(piece)
    except zlib.error:
        raise RejectedBodyError(
            "bad_encoding", f"the body is damaged, not {coding}, or followed by what is not"
        ) from None
    return b"".join(inflated)


def pieces(packed: bytes, coding: str) -> Iterator[bytes]:
    """Yield a packed body's content in pieces. Raises zlib.error, or RejectedBodyError, when it is not sound."""
    bits = 16 + zlib.MAX_WBITS if coding == "gzip" else _bits_of_deflate(packed)
    rest = memoryview(packed)
    for _ in range(MEMBERS_MAX if coding == "gzip" else 1):
        member = zlib.decompressobj(bits)
        while not member.eof:
            window = rest[:_WINDOW_BYTES]
            piece = member.decompress(window, PIECE_BYTES)
            if not (window or piece or member.eof):
                raise RejectedBodyError("bad_encoding", f"the body ends in the middle of its {coding} data")
            left = member.unused_data if member.eof else member.unconsumed_tail  # at the end both may have it
            rest = rest[len(window) - len(left) :]
            yield piece
        if not rest:
            return
    raise RejectedBodyError("bad_encoding", f"the body goes on after the end of its {coding} data")


def _bits_of_deflate(packed: bytes) -> int:
    # RFC 9110 means the format of zlib by "deflate"; some send the bare data, which cannot begin like its head does.
    has_head = len(packed) >= 2 and packed[0] & 0x0F == 8 and (packed[0] << 8 | packed[1]) % 31 == 0
    return zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS
