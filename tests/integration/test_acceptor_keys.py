"""An acceptor that asks for keys: before it reads a body, and again for every device in it."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hseie.acceptor.tickets import Refusal
from hseie.access import Devices
from hseie.config import Auth, Config
from hseie.errors import KeysFileError
from hseie.key_text import key_text
from hseie.openapi import document
from tests.described import closed
from tests.integration.keys_made import Keys
from tests.integration.test_acceptor_routes import BAD, GOOD, Door

OTHER = {**GOOD, "meterId": "OTHER_1"}


class GuardedDoor(Door):
    """A door that asks for keys."""

    async def open(self) -> "GuardedDoor":
        await super().open()
        self.folder = Path(tempfile.mkdtemp(prefix="hseie-"))
        self.keys = Keys(self.folder)
        self.routes._doorman = self.keys.doorman
        self.described = closed(document(Config(auth=Auth(mode="keys"))))
        return self

    async def close(self) -> None:
        await super().close()
        self.keys.close()
        shutil.rmtree(self.folder)

    async def send(self, body: Any, key: dict[str, str]) -> tuple[int, Any, Any]:
        return await self.post(body, **key)


@pytest.fixture
async def door() -> AsyncIterator[GuardedDoor]:
    run_dir = Path(tempfile.mkdtemp(prefix="hseie-"))
    door = await GuardedDoor(run_dir).open()
    yield door
    await door.close()
    shutil.rmtree(run_dir)


async def test_with_a_key_all_is_as_ever_and_without_one_nothing_is(door: GuardedDoor) -> None:
    _, key = door.keys.make("ingest")
    assert (await door.send(GOOD, key))[0] == 202
    assert (await door.send([GOOD, BAD], key))[0] == 207
    last = door.writer.journal.last_seq
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"], headers["WWW-Authenticate"]) == (401, "unauthorized", 'Bearer realm="hseie"')
    status, answer, _ = await door.post(GOOD, Authorization=key["Authorization"] + "x")
    assert (status, answer["code"]) == (401, "unauthorized")
    _, reader = door.keys.make("read")
    status, answer, _ = await door.send(GOOD, reader)
    assert (status, answer["code"]) == (403, "forbidden")
    assert "`ingest`" in answer["detail"]
    assert door.writer.journal.last_seq == last
    assert door.routes.counts.problems == {"unauthorized": 2, "forbidden": 1}


async def test_one_damaged_key_leaves_the_others_answers_as_they_are(door: GuardedDoor) -> None:
    _, shown = door.keys.make("ingest")
    door.keys.store._database.execute("UPDATE api_key SET scopes = 'x'")
    door.keys.doorman.refresh(0.0)
    for stranger in ("nonsense", key_text(10 * "z", 43 * "s")):
        status, answer, _ = await door.post(GOOD, X_API_Key=stranger)
        assert (status, answer["code"]) == (401, "unauthorized")
    status, answer, _ = await door.send(GOOD, shown)
    assert (status, answer["code"]) == (503, "keys_unavailable")
    assert "of this key is damaged" in answer["detail"]


async def test_who_waits_to_be_asked_for_his_body_is_asked_after_the_key(door: GuardedDoor) -> None:
    _, key = door.keys.make("ingest")
    body = json.dumps(GOOD).encode()
    head = "POST /v1/ingest/meter HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    for credentials, expected in (("", b" 401 "), (f"Authorization: {key['Authorization']}\r\n", b" 100 ")):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
        writer.write(f"{head}{credentials}Expect: 100-continue\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert expected in await reader.readline()
        if credentials:
            writer.write(body)
            async with asyncio.timeout(10):
                await reader.readline()
                assert b" 202 " in await reader.readline()
        writer.close()


async def test_the_answer_comes_before_the_body(door: GuardedDoor) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
    writer.write(
        b"POST /v1/ingest/meter HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    )
    async with asyncio.timeout(10):  # a body may take thirty seconds
        assert b" 401 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_devices_of_others(door: GuardedDoor) -> None:
    _, key = door.keys.make("ingest", devices=Devices(prefixes=("METER_",)))
    assert (await door.send(GOOD, key))[0] == 202
    status, answer, _ = await door.send(OTHER, key)
    assert (status, answer["code"]) == (403, "device_not_allowed")
    status, answer, _ = await door.send([GOOD, OTHER, {**GOOD, "meterId": "METER_002"}], key)
    assert (status, answer["accepted"] + answer["duplicates"], answer["rejectedIndexes"]) == (207, 2, [1])
    assert [(error["index"], error["code"]) for error in answer["errors"]] == [(1, "device_not_allowed")]


async def test_more_devices_than_the_quota(door: GuardedDoor) -> None:
    _, key = door.keys.make("ingest", devices_max=2)
    for device, expected in (("A", 202), ("B", 202), ("A", 202), ("C", 429), ("B", 202)):
        status, answer, headers = await door.send({**GOOD, "meterId": device}, key)
        assert status == expected
        if expected == 429:
            assert answer["code"] == "device_quota"
            assert 1 <= int(headers["Retry-After"]) <= 60


async def test_a_device_that_is_forgotten_gives_its_place_away(door: GuardedDoor) -> None:
    key, shown = door.keys.make("ingest", devices_max=1)
    assert [(await door.send({**GOOD, "meterId": device}, shown))[0] for device in "AB"] == [202, 429]
    assert door.keys.store.forget(key.key_id, "A") == 1
    door.keys.doorman.refresh(0.0)
    assert [(await door.send({**GOOD, "meterId": device}, shown))[0] for device in "BA"] == [202, 429]


async def test_over_the_rate(door: GuardedDoor) -> None:
    _, shown = door.keys.make("ingest", readings_per_s=0.001, burst_readings=5)
    assert [(await door.send(GOOD, shown))[0] for _ in range(5)] == [202] * 5
    status, answer, headers = await door.send(GOOD, shown)
    assert (status, answer["code"]) == (429, "rate_limited")
    assert 30 <= int(headers["Retry-After"]) <= 60
    assert door.routes.counts.problems == {"rate_limited": 1}


@pytest.mark.parametrize(
    ("body", "cost"),
    [(GOOD, 1), ([GOOD] * 7, 7), ([GOOD, BAD, BAD], 3), (BAD, 1), ([BAD, BAD], 2), (b"{", 1), ([], 1)],
)
async def test_what_a_request_costs(door: GuardedDoor, body: Any, cost: int) -> None:
    key, shown = door.keys.make("ingest", readings_per_s=0.001, burst_readings=5)
    await door.send(body, shown)
    assert door.keys.doorman.rates._counters.total(key.place) == cost


async def test_a_batch_may_overdraw_once(door: GuardedDoor) -> None:
    _, shown = door.keys.make("ingest", readings_per_s=10, burst_readings=5)
    assert (await door.send([GOOD] * 100, shown))[0] == 202
    assert (await door.send(GOOD, shown))[0] == 429


async def test_who_came_in_together_overdraws_by_one_batch(door: GuardedDoor) -> None:
    """The door sees no readings, so all are let in; only the first that was read still finds something to spend."""
    key, shown = door.keys.make("ingest", readings_per_s=0.001, burst_readings=50)
    body = json.dumps([GOOD] * 100).encode()
    head = (
        f"POST /v1/ingest/meter HTTP/1.1\r\nHost: x\r\nAuthorization: {shown['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    counters = door.keys.doorman.rates._counters
    connections = [await asyncio.open_connection("127.0.0.1", door.client.port) for _ in range(20)]
    last = door.writer.journal.last_seq
    async with asyncio.timeout(30):
        for _, writer in connections:
            writer.write(head)
        while counters.total(key.place) < len(connections):
            await asyncio.sleep(0.01)
        for _, writer in connections:
            writer.write(body)
        statuses = [(await reader.readline()).split()[1] for reader, _ in connections]
    assert sorted(statuses) == [b"202"] + [b"429"] * 19
    assert counters.total(key.place) == 100 + 19  # each of the others one, as any request
    assert door.writer.journal.last_seq == last + 1
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()


async def test_what_was_not_stored_is_not_paid_for(door: GuardedDoor) -> None:
    key, shown = door.keys.make("ingest", readings_per_s=0.001, burst_readings=50, devices_max=3)
    counters = door.keys.doorman.rates._counters
    assert (await door.send([GOOD] * 10, shown))[0] == 202
    door.routes._in_flight_max = 0
    assert [(await door.send([GOOD] * 30, shown))[0] for _ in range(5)] == [503] * 5
    door.routes._in_flight_max = 100
    door.link.add = lambda *_: Refusal("journal_full", 1.0)  # type: ignore[method-assign, assignment]
    assert (await door.send([GOOD] * 30, shown))[1]["code"] == "journal_full"
    del door.link.add
    door.keys.doorman.registry.admit = fail  # type: ignore[method-assign]
    assert (await door.send([GOOD, OTHER], shown))[1]["code"] == "keys_unavailable"
    assert counters.total(key.place) == 10
    assert (await door.send([GOOD] * 40, shown))[0] == 202
    assert (await door.send(GOOD, shown))[0] == 429


def fail(*_: Any) -> set[str]:
    raise KeysFileError("locked")


async def test_a_quota_that_cannot_be_looked_up_refuses_for_now(door: GuardedDoor) -> None:
    _, shown = door.keys.make("ingest", devices_max=2)
    assert (await door.send(GOOD, shown))[0] == 202
    last = door.writer.journal.last_seq
    door.keys.store.close()
    for file in door.folder.glob("keys.sqlite*"):
        file.unlink()
    status, answer, headers = await door.send([GOOD, OTHER], shown)
    assert (status, answer["code"]) == (503, "keys_unavailable")
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert str(door.folder) not in str(answer)
    assert door.writer.journal.last_seq == last  # all of it or nothing
    assert (await door.send(GOOD, shown))[0] == 202  # what is known is known


async def test_other_paths_and_methods_are_answered_as_ever(door: GuardedDoor) -> None:
    async with door.client.get("/v1/ingest/meter") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    async with door.client.options("/v1/ingest/meter") as answer:
        assert answer.status == 405
    async with door.client.get("/livez") as answer:
        assert answer.status == 200
    async with door.client.get("/v1/analytics/stats") as answer:
        assert answer.headers["X-From"] == "analytics"  # who asks there
