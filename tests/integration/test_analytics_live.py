"""`/v1/live` of analytics without PostgreSQL, and through the proxy of an acceptor: events, limits, and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from hseie.acceptor.proxy import AnalyticsProxy
from hseie.acceptor.routes import IngestRoutes, make_app
from hseie.analytics import live
from hseie.analytics.live import LiveRoute
from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader
from hseie.analytics.service import Parts, build
from hseie.config import Config
from hseie.http_server import Server, start_server
from hseie.ports import bind, bind_unix

NOW = datetime(2026, 2, 9, 12, 0, 0, tzinfo=UTC)
HOST = "127.0.0.1"
NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"

Event = tuple[str, Any]


async def _status() -> dict[str, Any]:
    counted = {"readings": 70, "rejected": 4, "problems": {"bad_json": 3}}
    writer = {"shard": 0, "kinds": {"meter": {"waiting": 5, "active": 2, "stored": 9}}}
    return {
        "node": {"state": "ready"},
        "processes": [
            {"name": "acceptor-0", "role": "acceptor", "pid": 1, "state": "ready", "stats": counted},
            {"name": "acceptor-1", "role": "acceptor", "pid": 2, "state": "ready", "stats": counted},
            {"name": "writer-0", "role": "writer", "pid": 3, "state": "ready", "stats": writer},
        ],
    }


class Rig:
    """Analytics and an acceptor before it, whose ports stand in `ports`."""

    def __init__(self, route: LiveRoute, analytics: Server, acceptor: Server) -> None:
        self.route = route
        self.analytics = analytics
        self.acceptor = acceptor
        self.ports = {"analytics": analytics.port, "acceptor": acceptor.port}


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Rig]:
    monkeypatch.setattr(live, "SAMPLE_S", 0.05)
    config = Config()
    reader, probe = await Reader.open(config, NOBODY, "tests", 2), await Reader.open(config, NOBODY, "tests", 1)
    app, _, route = build(Parts(config, reader, probe, NodeView(_status), lambda: NOW, NOBODY))
    sampling = asyncio.create_task(route.sample())
    inside = tmp_path / "analytics.sock"
    sockets = [*bind(HOST, 0), bind_unix(inside)]
    analytics = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=5.0, sockets=sockets)
    proxy = AnalyticsProxy(inside, 30.0)
    acceptor = await start_server(
        make_app(config, IngestRoutes(config, []), proxy), HOST, 0, reuse_port=False, keepalive_s=5.0
    )
    yield Rig(route, analytics, acceptor)
    sampling.cancel()
    await acceptor.stop(5.0)
    await analytics.stop(5.0)
    await proxy.close()
    await reader.close(1.0)
    await probe.close(1.0)


@asynccontextmanager
async def _listen(port: int, method: str = "GET") -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
        session.request(method, f"http://{HOST}:{port}/v1/live") as answer,
    ):
        yield answer


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    while text := await answer.content.readuntil(b"\n\n"):
        if text.startswith(b"event: "):
            head, data = text.decode().rstrip("\n").split("\n")
            yield head.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))


PORTS = pytest.mark.parametrize("port", ["analytics", "acceptor"])


@PORTS
async def test_the_past_first_and_then_what_is_now(rig: Rig, port: str) -> None:
    async with _listen(rig.ports[port]) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        events = _events(answer)
        assert (await anext(events))[0] == "past"
        seen = [await anext(events) for _ in range(3)]
        assert [name for name, _ in seen] == ["now"] * 3
        now = seen[-1][1]
        assert (now["waiting"], now["active"], now["missingShards"]) == (5, 2, [1])
        assert (now["rejected"], now["problems"]) == (8, {"bad_json": 6})
        assert (now["state"], now["rates"]["received"]) == ("ready", 0.0)
        # PostgreSQL was never there: unknown is not zero.
        assert (now["fleet"], now["deadLettered"]) == (None, None)
        assert {check["name"]: check["ok"] for check in now["checks"]}["postgres"] is False


async def test_without_a_supervisor_it_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> dict[str, Any]:
        raise TimeoutError

    monkeypatch.setattr(rig.route._node, "_ask", away)
    monkeypatch.setattr(rig.route._node, "_kept_until", 0.0)
    async with _listen(rig.ports["analytics"]) as answer:
        async for name, now in _events(answer):
            if name == "now" and now["state"] is None:
                assert (now["rates"], now["waiting"], now["rejected"]) == (None, None, None)
                assert "supervisor" in {check["name"] for check in now["checks"] if not check["ok"]}
                return


@PORTS
async def test_listeners_are_limited_and_counted(rig: Rig, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LISTENERS_MAX", 2)
    number = rig.ports[port]
    async with _listen(number) as first, _listen(number) as second:
        assert (first.status, second.status, rig.route.listeners) == (200, 200, 2)
        async with _listen(number) as third:
            assert (third.status, (await third.json(content_type=None))["code"]) == (503, "overloaded")
            assert int(third.headers["Retry-After"]) >= 1
    async with asyncio.timeout(20):
        while rig.route.listeners:
            await asyncio.sleep(0.05)
    async with _listen(number) as again:
        assert again.status == 200


@pytest.mark.parametrize(
    ("port", "stopped"), [("analytics", "analytics"), ("acceptor", "analytics"), ("acceptor", "acceptor")]
)
async def test_a_stop_ends_the_stream_in_order(rig: Rig, port: str, stopped: str) -> None:
    async with _listen(rig.ports[port]) as answer:
        events = _events(answer)
        await anext(events)
        # The server gives requests under way much longer than this test may take.
        stopping = asyncio.create_task(getattr(rig, stopped).stop(300.0))
        async for _ in events:  # up to its end; a connection that breaks would raise here
            pass
        await asyncio.wait_for(stopping, 60)
    assert answer.content.at_eof()


async def test_a_database_that_does_not_even_take_a_cancellation_holds_nothing_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = asyncio.Event()

    async def stuck(name: str) -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    monkeypatch.setattr(rig.route._health._reader, "rows", stuck)
    try:
        async with asyncio.timeout(20), _listen(rig.ports["acceptor"]) as answer:
            async for name, now in _events(answer):
                if name == "now" and "no answer within 1 s" in [check["detail"] for check in now["checks"]]:
                    assert now["fleetIsOld"]
                    break
    finally:
        free.set()


@PORTS
async def test_a_listener_has_to_show_its_key_again(rig: Rig, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LISTEN_MAX_S", 0.3)
    async with asyncio.timeout(60), _listen(rig.ports[port]) as answer:
        seen = [name async for name, _ in _events(answer)]  # to an end in order
    assert seen[:2] == ["past", "now"]


async def test_silence_is_broken_by_a_comment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENCE_S", 0.05)
    monkeypatch.setattr(rig.route, "_publish", lambda event: None)
    async with _listen(rig.ports["acceptor"]) as answer:
        while not (event := await answer.content.readuntil(b"\n\n")).startswith(b":"):
            pass
    assert event == b": silence\n\n"


async def test_who_takes_nothing_is_let_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WRITE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(live, "_event", lambda name, document: b"data: " + b"x" * 1_000_000 + b"\n\n")
    reader, writer = await asyncio.open_connection(HOST, rig.ports["analytics"], limit=1024)
    writer.write(b"GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readline()
    async with asyncio.timeout(60):
        while rig.route.listeners == 0:
            await asyncio.sleep(0.01)
        while rig.route.listeners:
            await asyncio.sleep(0.05)
    assert rig.route.listeners == 0  # let go once, not twice
    writer.close()


@PORTS
async def test_its_head_alone_has_an_end(rig: Rig, port: str) -> None:
    async with _listen(rig.ports[port], "HEAD") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert await answer.read() == b""
    assert rig.route.listeners == 0
