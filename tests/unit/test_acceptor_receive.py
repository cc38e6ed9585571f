"""Bodies on their way have a budget together, whether they come slowly, grow while they are inflated or wait."""

import asyncio
import gc
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


async def test_of_large_bodies_that_wait_one_is_parsed_in_a_turn_of_the_loop() -> None:
    bodies = Bodies(Http(body_bytes_max=SIZE, bodies_bytes_max=30 * SIZE))
    body = bytes(SIZE)
    turns, parsed_in, collecting = 0, [], []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def parse(body: bytes) -> int:
        parsed_in.append(turns)
        collecting.append(gc.isenabled())
        return len(body)

    def fail(body: bytes) -> int:
        raise ValueError(parse(body))

    serving = asyncio.create_task(others())
    outcomes = await asyncio.gather(
        *(bodies.in_turn(body, fail if number == 3 else parse) for number in range(20)), return_exceptions=True
    )
    serving.cancel()
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [SIZE] * 19
    assert len(set(parsed_in)) == 20  # others had theirs between any two
    assert set(collecting) == {False}
    assert gc.isenabled()
    assert bodies.bytes == 0


async def test_large_bodies_wait_within_the_budget() -> None:
    bodies = Bodies(Http(body_bytes_max=SIZE, bodies_bytes_max=3 * SIZE))
    outcomes = await asyncio.gather(*(bodies.in_turn(bytes(SIZE), len) for _ in range(5)), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [SIZE] * 3
    assert {outcome.code for outcome in outcomes if isinstance(outcome, RejectedBodyError)} == {"overloaded"}
    assert bodies.bytes == 0
