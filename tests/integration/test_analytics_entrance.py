"""Analytics that asks for keys: every route by what the table says of it, without a database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hseie.access import SCOPES, Devices
from hseie.analytics.node import NodeView
from hseie.analytics.pages import FILES
from hseie.analytics.reader import Reader
from hseie.analytics.service import Parts, build
from hseie.clock import utc_now
from hseie.config_load import load
from hseie.route import Route
from hseie.route_table import ROUTES
from tests.integration.keys_made import Keys
from tests.integration.test_analytics_routes import Client, FakeNode

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
GETS = [route for route in ROUTES if route.method == "get"]
CLOSED = [route for route in GETS if route.scope is not None]
REFUSED = (401, 403, 429)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def client(keys: Keys) -> AsyncIterator[Client]:
    config = load(overrides={"auth.mode": "keys", "postgres.connect_timeout_ms": 200}).config
    reader, probe = await Reader.open(config, NOWHERE, "tests", 1), await Reader.open(config, NOWHERE, "tests", 1)
    app, *_ = build(Parts(config, reader, probe, NodeView(FakeNode().status), utc_now, NOWHERE, keys.doorman))
    async with TestClient(TestServer(app)) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)
    keys.close()


def path_of(route: Route, device: str = "D-1") -> str:
    path = route.path.replace("{jobId}", "0-1")
    return path.replace(f"{{{route.device_parameter}}}", device)


async def status(client: Client, path: str, headers: dict[str, str], method: str = "GET") -> int:
    async with client.request(method, path, headers=headers) as answer:
        return answer.status


async def code(client: Client, path: str, headers: dict[str, str]) -> str:
    async with client.get(path, headers=headers) as answer:
        found: str = (await answer.json(content_type=None))["code"]
        return found


async def test_a_stranger_sees_what_is_open_and_no_more(client: Client) -> None:
    assert len(CLOSED) > 8
    for route in GETS:
        async with client.get(path_of(route), headers={}) as answer:
            assert (answer.status == 401) == (route.scope is not None), route.path
            if route.scope is not None:
                assert answer.headers["WWW-Authenticate"] == 'Bearer realm="hseie"'
    assert [await status(client, path, {}) for path in FILES] == [200] * len(FILES)
    async with client.get("/", allow_redirects=False) as answer:
        assert answer.status in (200, 302)
    async with client.head("/v1/analytics/stats") as answer:
        assert answer.status == 401


async def test_a_scope_opens_its_routes(client: Client, keys: Keys) -> None:
    shown = {scope: keys.make(scope)[1] for scope in SCOPES}
    for route in CLOSED:
        for scope, header in shown.items():
            found = await status(client, path_of(route), header)
            assert (found not in REFUSED) == (scope in (route.scope, "admin")), (route.path, scope, found)


async def test_a_key_of_some_devices_sees_those(client: Client, keys: Keys) -> None:
    _, shown = keys.make(*SCOPES, devices=Devices(frozenset({"MINE"}), ("OUR_",)))
    for route in CLOSED:
        if route.device_parameter:
            for device in ("MINE", "OUR_1"):
                assert await status(client, path_of(route, device), shown) not in REFUSED, route.path
            assert await code(client, path_of(route, "THEIRS"), shown) == "device_not_allowed"
            assert (
                await status(client, path_of(route, "%4DINE"), shown) not in REFUSED
            )  # the same id, written otherwise
        elif route.scope == "ingest":
            assert await status(client, path_of(route), shown) not in REFUSED  # a receipt tells nothing of devices
        else:
            assert await code(client, path_of(route), shown) == "forbidden", route.path


async def test_what_does_not_exist_is_answered_as_ever(client: Client) -> None:
    for path in ("/nothing", "/v1/analytics", "/v1/ingest/meter"):
        assert await code(client, path, {}) == "not_found"
    for method in ("POST", "DELETE", "OPTIONS"):
        assert await status(client, "/v1/analytics/stats", {}, method) == 405


async def test_a_path_that_nobody_has_declared_is_for_those_who_may_do_everything(keys: Keys) -> None:
    config = load(overrides={"auth.mode": "keys", "postgres.connect_timeout_ms": 200}).config
    reader = await Reader.open(config, NOWHERE, "tests", 1)
    app, *_ = build(Parts(config, reader, reader, NodeView(FakeNode().status), utc_now, NOWHERE, keys.doorman))

    async def secret(request: object) -> None:
        raise AssertionError

    app.router.add_get("/new", secret)  # type: ignore[arg-type]
    async with TestClient(TestServer(app)) as client:
        assert await status(client, "/new", {}) == 401
        assert await status(client, "/new", keys.make("read", "ingest")[1]) == 403
        assert await status(client, "/new", keys.make("admin")[1]) == 500
    await reader.close(1.0)
    keys.close()


async def test_a_query_costs_one(client: Client, keys: Keys) -> None:
    _, shown = keys.make("read", readings_per_s=0.001, burst_readings=3)
    path = "/v1/ingest/meter/A/current"
    found = [await status(client, path, shown) for _ in range(4)]
    assert found[3] == 429
    assert 429 not in found[:3]
    assert keys.doorman.refused == {"rate_limited": 1}
