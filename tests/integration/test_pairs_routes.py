"""`/v1/pairs` over a real database: what is answered, what is refused, and who may."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from hseie.access import Devices
from hseie.analytics import pairs
from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader
from hseie.analytics.service import Parts, build
from hseie.clock import utc_now
from hseie.config_load import load
from hseie.database import connect
from hseie.openapi import document
from hseie.web import SMALL_BODY_BYTES_MAX
from tests.described import check_described, closed
from tests.integration.keys_made import Keys
from tests.integration.test_analytics_routes import Client, FakeNode

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
KEYED = load(overrides={"auth.mode": "keys"}).config
DESCRIBED = closed(document(KEYED))


async def clients(url: str, keys: Keys | None = None, **settings: Any) -> AsyncIterator[Client]:
    config = load(overrides={"auth.mode": "keys" if keys else "none", **settings}).config
    reader, probe = await Reader.open(config, url, "tests", 2), await Reader.open(config, url, "tests", 1)
    doorman = keys.doorman if keys is not None else None
    app, *_ = build(Parts(config, reader, probe, NodeView(FakeNode().status), utc_now, url, doorman))
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # as hseie/http_server.py has it
    async with TestClient(server) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async for client in clients(database_url):
        yield client


async def ask(
    client: Client, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """The answer, after a look at its description."""
    async with client.request(method, URL(path, encoded=True), json=body, headers=headers) as answer:
        found = await answer.json(content_type=None)
        check_described(DESCRIBED, method, path, answer.status, answer.headers, found)
        return answer.status, found


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat().replace("+00:00", "Z")


async def test_a_pairing_is_set_again_and_ended(client: Client) -> None:
    status, first = await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A", "validFrom": ago(days=3)})
    assert (status, first["changed"], first["pair"]["vehicleId"], first["pair"]["validTo"]) == (200, True, "V", None)
    status, second = await ask(client, "PUT", "/v1/pairs/V", {"meterId": "B"})
    assert second["ended"] == [{**first["pair"], "validTo": second["pair"]["validFrom"]}]
    # Whoever got no answer asks again, and is told that it is so.
    status, again = await ask(client, "PUT", "/v1/pairs/V", {"meterId": "B"})
    assert (status, again) == (200, {"pair": second["pair"], "changed": False, "ended": [], "removed": []})
    assert await ask(client, "GET", "/v1/pairs") == (200, {"pairs": [second["pair"]], "next": None})
    status, ended = await ask(client, "DELETE", "/v1/pairs/V")
    assert (status, ended["ended"]) == (200, [ended["pair"]])
    status, body = await ask(client, "DELETE", "/v1/pairs/V")
    assert (status, body["code"]) == (404, "unknown_pair")
    assert (await ask(client, "GET", "/v1/pairs"))[1]["pairs"] == []


async def test_a_pairing_without_a_meter_and_one_that_is_undone(client: Client) -> None:
    start = ago(days=1)
    _, body = await ask(client, "PUT", "/v1/pairs/V", {"meterId": None, "validFrom": start, "validTo": None})
    assert body["pair"]["meterId"] is None
    status, body = await ask(client, "DELETE", f"/v1/pairs/V?at={start}")
    assert (status, body["removed"], body["ended"]) == (200, [body["pair"]], [])
    assert (await ask(client, "GET", "/v1/pairs?state=all"))[1]["pairs"] == []


async def test_what_is_in_the_way_is_a_conflict(client: Client) -> None:
    await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A", "validFrom": ago(days=3), "validTo": ago(days=2)})
    await ask(client, "PUT", "/v1/pairs/W", {"meterId": "B", "validFrom": ago(days=-3)})
    for vehicle, wanted in (
        ("V", {"meterId": "B", "validFrom": ago(days=2.5), "validTo": ago(days=1)}),
        ("X", {"meterId": "A", "validFrom": ago(days=4)}),
        ("W", {"meterId": "C"}),
        ("X", {"meterId": "B"}),
    ):
        status, body = await ask(client, "PUT", f"/v1/pairs/{vehicle}", wanted)
        assert (status, body["code"]) == (409, "pair_conflict"), wanted
    await ask(client, "PUT", "/v1/pairs/X", {"meterId": "A"})
    status, body = await ask(client, "DELETE", f"/v1/pairs/X?at={ago(days=1)}")
    assert (status, body["code"]) == (409, "pair_conflict")


async def test_every_mistake_is_named(client: Client) -> None:
    wrong = {"meterId": "a b", "validFrom": "today", "validTo": 7, "color": "red"}
    status, body = await ask(client, "PUT", "/v1/pairs/V%20V", wrong)
    assert (status, body["code"]) == (400, "invalid_pair")
    assert sorted((error["pointer"], error["code"]) for error in body["errors"]) == [
        ("/color", "unknown_field"),
        ("/meterId", "bad_id"),
        ("/validFrom", "bad_timestamp"),
        ("/validTo", "bad_type"),
        ("/vehicleId", "bad_id"),
    ]
    for wanted, pointer in (
        ({}, "/meterId"),
        ({"meterId": "A", "validFrom": ago(days=401)}, "/validFrom"),
        ({"meterId": "A", "validTo": ago(days=1)}, "/validTo"),
    ):
        status, body = await ask(client, "PUT", "/v1/pairs/V", wanted)
        assert (status, [error["pointer"] for error in body["errors"]]) == (400, [pointer])
    for query, pointer in (("at=now", "/at"), (f"at={ago(days=401)}", "/at"), ("from=1", "/from")):
        await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A"})
        status, body = await ask(client, "DELETE", f"/v1/pairs/V?{query}")
        assert (status, body["code"], [error["pointer"] for error in body["errors"]]) == (
            400,
            "bad_parameter",
            [pointer],
        )
    assert (await ask(client, "DELETE", "/v1/pairs/V%20V"))[1]["code"] == "unknown_pair"


async def test_bodies_that_are_no_pairing(client: Client) -> None:
    json_type = {"Content-Type": "application/json"}
    for content, headers, expected in (
        (b"", {"Content-Type": "text/plain"}, (415, "unsupported_media_type")),
        (b"{}", {**json_type, "Content-Encoding": "gzip"}, (415, "unsupported_media_type")),
        (b"", json_type, (400, "bad_json")),
        (b"{", json_type, (400, "bad_json")),
        (b"[]", json_type, (400, "invalid_pair")),
        (b"null", json_type, (400, "invalid_pair")),
        (b" " * (SMALL_BODY_BYTES_MAX + 1), json_type, (413, "too_large")),
    ):
        async with client.put("/v1/pairs/V", data=content, headers=headers) as answer:
            body = await answer.json(content_type=None)
            check_described(DESCRIBED, "put", "/v1/pairs/V", answer.status, answer.headers, body)
            assert (answer.status, body["code"]) == expected, content[:20]
    async with client.put("/v1/pairs/V?x=1", json={"meterId": "A"}) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "bad_parameter")
    largest = b'{"meterId": "A"' + b" " * (SMALL_BODY_BYTES_MAX - 16) + b"}"
    async with client.put(
        "/v1/pairs/V", data=largest, headers={"Content-Type": "application/json; charset=utf-8"}
    ) as answer:
        assert answer.status == 200


async def test_a_body_that_does_not_come_is_not_waited_for_long(database_url: str) -> None:
    async for client in clients(database_url, **{"http.body_timeout_s": 0.2}):

        async def pieces() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(5)

        async with client.put("/v1/pairs/V", data=pieces(), headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 408


async def test_page_by_page(client: Client) -> None:
    for number in range(7):
        await ask(client, "PUT", f"/v1/pairs/V{number}", {"meterId": f"M{number}"})
    await ask(client, "PUT", "/v1/pairs/V3", {"meterId": "OTHER"})
    found: list[tuple[str, str]] = []
    path = "/v1/pairs?state=all&limit=3"
    while path:
        async with client.get(URL(path, encoded=True)) as answer:
            body = await answer.json()
            found += [(pair["vehicleId"], pair["meterId"]) for pair in body["pairs"]]
            link = answer.headers.get("Link", "")
            assert (body["next"] is None) == (not link)
            path = link.partition(">")[0].removeprefix("<")
    expected = [("V0", "M0"), ("V1", "M1"), ("V2", "M2"), ("V3", "M3"), ("V3", "OTHER"), ("V4", "M4")]
    assert found == [*expected, ("V5", "M5"), ("V6", "M6")]
    _, body = await ask(client, "GET", "/v1/pairs?state=all&limit=3")
    assert (await ask(client, "GET", f"/v1/pairs?state=all&limit=9&cursor={body['next']}"))[0] == 200
    for query in (
        f"cursor={body['next']}",
        f"state=all&cursor={body['next'][:-1]}",
        f"state=all&vehicleId=V&cursor={body['next']}",
    ):
        status, refused = await ask(client, "GET", f"/v1/pairs?{query}")
        assert (status, refused["errors"][0]["pointer"]) == (400, "/cursor")


async def test_filters(client: Client) -> None:
    await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A", "validFrom": ago(days=2), "validTo": ago(days=1)})
    await ask(client, "PUT", "/v1/pairs/V", {"meterId": "B"})
    await ask(client, "PUT", "/v1/pairs/W", {"meterId": "A", "validFrom": ago(days=-1)})
    for query, expected in (
        ("", ["VB"]),
        ("state=current", ["VB"]),
        ("state=planned", ["WA"]),
        ("state=ended", ["VA"]),
        ("state=all&meterId=A", ["VA", "WA"]),
        ("state=all&vehicleId=V", ["VA", "VB"]),
        ("state=all&vehicleId=V&meterId=C", []),
    ):
        _, body = await ask(client, "GET", f"/v1/pairs?{query}")
        assert [pair["vehicleId"] + pair["meterId"] for pair in body["pairs"]] == expected, query
    for query, pointer in (
        ("state=none", "/state"),
        ("vehicleId=", "/vehicleId"),
        ("limit=0", "/limit"),
        ("x=1", "/x"),
    ):
        status, body = await ask(client, "GET", f"/v1/pairs?{query}")
        assert (status, body["errors"][0]["pointer"]) == (400, pointer)


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def guarded(database_url: str, keys: Keys) -> AsyncIterator[Client]:
    async for client in clients(database_url, keys):
        yield client
    keys.close()


async def test_changing_needs_another_scope_than_looking(guarded: Client, keys: Keys) -> None:
    _, read = keys.make("read", "ingest")
    _, admin = keys.make("admin")
    wanted = {"meterId": "A"}
    assert (await ask(guarded, "PUT", "/v1/pairs/V", wanted))[0] == 401
    assert (await ask(guarded, "DELETE", "/v1/pairs/V"))[0] == 401
    assert (await ask(guarded, "GET", "/v1/pairs"))[0] == 401
    assert (await ask(guarded, "PUT", "/v1/pairs/V", wanted, read))[1]["code"] == "forbidden"
    assert (await ask(guarded, "DELETE", "/v1/pairs/V", None, read))[1]["code"] == "forbidden"
    assert (await ask(guarded, "GET", "/v1/pairs", None, read)) == (200, {"pairs": [], "next": None})
    assert (await ask(guarded, "PUT", "/v1/pairs/V", wanted, admin))[0] == 200
    assert (await ask(guarded, "DELETE", "/v1/pairs/V", None, admin))[0] == 200


async def test_a_key_of_some_devices_changes_pairings_of_those_only(guarded: Client, keys: Keys) -> None:
    _, admin = keys.make("admin")
    _, bound = keys.make("admin", devices=Devices(frozenset({"MINE"}), ("MY_",)))
    assert (await ask(guarded, "PUT", "/v1/pairs/MINE", {"meterId": "MY_METER"}, bound))[0] == 200
    assert (await ask(guarded, "PUT", "/v1/pairs/MINE", {"meterId": None}, bound))[0] == 200
    for vehicle, meter in (("MINE", "THEIRS"), ("THEIRS", "MY_METER"), ("THEIRS", "THEIRS")):
        status, body = await ask(guarded, "PUT", f"/v1/pairs/{vehicle}", {"meterId": meter}, bound)
        assert (status, body["code"]) == (403, "device_not_allowed")
    assert (await ask(guarded, "GET", "/v1/pairs", None, bound))[1]["code"] == "forbidden"  # it shows the whole fleet
    # A pairing of others neither ends by a change of mine nor is told of in the answer.
    await ask(guarded, "PUT", "/v1/pairs/THEIRS", {"meterId": "MY_METER"}, admin)
    status, body = await ask(guarded, "PUT", "/v1/pairs/MINE", {"meterId": "MY_METER"}, bound)
    assert (status, body["code"], "THEIRS" in json.dumps(body)) == (403, "device_not_allowed", False)
    await ask(guarded, "PUT", "/v1/pairs/MINE", {"meterId": "THEIR_METER"}, admin)
    assert (await ask(guarded, "DELETE", "/v1/pairs/MINE", None, bound))[1]["code"] == "device_not_allowed"
    _, body = await ask(guarded, "GET", "/v1/pairs", None, admin)
    assert [(pair["vehicleId"], pair["meterId"]) for pair in body["pairs"]] == [
        ("MINE", "THEIR_METER"), ("THEIRS", "MY_METER")
    ]  # fmt: skip


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


async def test_without_postgres_nothing_is_changed_and_the_answer_says_when_to_come_again() -> None:
    async for client in clients(NOWHERE, **{"postgres.connect_timeout_ms": 200}):
        for method, body in (("PUT", {"meterId": "A"}), ("DELETE", None)):
            status, answer = await ask(client, method, "/v1/pairs/V", body)  # its Retry-After is in the description
            assert (status, answer["code"]) == (503, "database_unavailable")
        assert (await ask(client, "GET", "/v1/pairs"))[0] == 503


async def test_a_postgres_that_only_reads(database_url: str, client: Client) -> None:
    name = database_url.rpartition("/")[2].partition("?")[0]
    connection = await connect(database_url, "tests", 10)
    await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A"})
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    for method, body in (("PUT", {"meterId": "B"}), ("DELETE", None)):
        status, answer = await ask(client, method, "/v1/pairs/V", body)
        assert (status, answer["code"]) == (503, "database_unavailable")
    assert [pair["meterId"] for pair in (await ask(client, "GET", "/v1/pairs"))[1]["pairs"]] == ["A"]
    await connection.close()


async def test_changes_wait_for_their_turn_up_to_a_limit(
    database_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "CHANGES_MAX", 3)
    blocking = await connect(database_url, "blocking", 10)
    transaction = blocking.transaction()
    await transaction.start()
    await blocking.execute("LOCK TABLE device_pair IN SHARE MODE")
    waiting = [asyncio.ensure_future(ask(client, "PUT", f"/v1/pairs/V{n}", {"meterId": "A"})) for n in range(3)]
    while not await blocking.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0.01)
    status, body = await ask(client, "PUT", "/v1/pairs/V", {"meterId": "A"})
    assert (status, body["code"]) == (503, "overloaded")
    assert await blocking.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hseie pairs'") == 1
    await transaction.rollback()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200, 200]
    await blocking.close()
