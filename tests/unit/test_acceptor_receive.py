"""Bodies on their way have a budget together, whether they come slowly or grow while they are inflated."""

import asyncio
import gzip

import pytest

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.inflate import PIECE_BYTES
from hseie.acceptor.receive import Bodies
from hseie.config import Http

SIZE = 4 * PIECE_BYTES


async def test_bodies_that_grow_at_once_stay_within_the_budget() -> None:
    bodies = Bodies(Http(body_bytes_max=SIZE, bodies_bytes_max=3 * SIZE))
    packed, most = gzip.compress(bytes(SIZE)), 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, bodies.bytes)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    outcomes = await asyncio.gather(*(bodies.inflate(packed, "gzip") for _ in range(20)), return_exceptions=True)
    watching.cancel()
    taken = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
    refused = [outcome.code for outcome in outcomes if isinstance(outcome, RejectedBodyError)]
    assert len(taken) + len(refused) == 20
    assert taken
    assert refused
    assert set(refused) == {"overloaded"}
    assert all(len(body) == SIZE for body in taken)
    assert SIZE < most <= 3 * SIZE + PIECE_BYTES
    assert bodies.bytes == 0  # all of it is given back, whatever became of them


async def test_one_body_after_another_is_inflated_however_many() -> None:
    bodies = Bodies(Http(body_bytes_max=SIZE, bodies_bytes_max=SIZE + PIECE_BYTES))
    for _ in range(5):
        assert len(await bodies.inflate(gzip.compress(bytes(SIZE)), "gzip")) == SIZE
    with pytest.raises(RejectedBodyError, match="too_large"):
        await bodies.inflate(gzip.compress(bytes(SIZE + 1)), "gzip")
    with pytest.raises(RejectedBodyError, match="bad_encoding"):
        await bodies.inflate(b"no gzip", "gzip")
    assert bodies.bytes == 0
