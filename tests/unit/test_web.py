"""The shared HTTP server: answers in the project's form, limits that are really in force, start and stop."""

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from hseie import connections, problems
from hseie import web as hseie_web
from hseie.errors import ConfigError, PortTakenError
from hseie.http_connection import Connection
from hseie.http_server import Server, start_server
from hseie.ports import Listeners, analytics_path, bind, bind_unix, ensure_port_free
from hseie.web import new_app, problem

HOST = "127.0.0.1"


async def _ok(request: web.Request) -> web.Response:
    return hseie_web.json_answer({"ok": True})


async def _broken(request: web.Request) -> web.Response:
    raise ValueError("the secret inside")


async def _slow(request: web.Request) -> web.Response:
    await asyncio.sleep(0.3)
    return hseie_web.json_answer({"slow": True})


async def _endless(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def _take(request: web.Request) -> web.Response:
    return web.Response(body=str(len(await request.read())).encode())


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    app = new_app(body_bytes_max=1000)
    app.router.add_get("/ok", _ok)
    app.router.add_get("/broken", _broken)
    app.router.add_get("/slow", _slow)
    app.router.add_get("/endless", _endless)
    app.router.add_post("/take", _take)
    running = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=5.0)
    yield running
    await running.stop(0.1)


def _url(server: Server, path: str) -> str:
    return f"http://{HOST}:{server.port}{path}"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/ok", 405, "method_not_allowed"),
        ("GET", "/broken", 500, "internal"),
        ("POST", "/take", 413, "too_large"),
    ],
)
async def test_every_error_is_a_problem(server: Server, method: str, path: str, status: int, code: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, _url(server, path), data=b"x" * 1001 if method == "POST" else None) as answer,
    ):
        text = await answer.text()
        assert answer.status == status
        assert answer.headers["Content-Type"] == problems.CONTENT_TYPE
        assert orjson.loads(text)["code"] == code
        assert "secret" not in text
        if status == 405:
            assert answer.headers["Allow"] == "GET, HEAD"


async def test_answers_are_json(server: Server) -> None:
    async with aiohttp.ClientSession() as session, session.get(_url(server, "/ok")) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert await answer.json() == {"ok": True}


def test_problem_carries_the_retry_rule() -> None:
    assert 1 <= int(problem("overloaded").headers["Retry-After"]) <= 60
    assert 20 <= int(problem("overloaded", retry_s=20).headers["Retry-After"]) <= 31
    assert "Retry-After" not in problem("bad_json").headers
    with pytest.raises(KeyError):
        problem("never_declared")


async def test_a_long_head_is_refused(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(_url(server, "/ok"), headers={"X-Long": "x" * 9000}) as answer:
            assert answer.status == 431
        many = {f"X-{number}": "1" for number in range(80)}
        async with session.get(_url(server, "/ok"), headers=many) as answer:
            assert answer.status == 431


async def test_idle_connections_are_closed_after_keepalive() -> None:
    app = new_app(1000)
    app.router.add_get("/ok", _ok)
    server = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=0.2)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read(10_000)).startswith(b"HTTP/1.1 200")
    assert server.connections == 1
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()
    await server.stop(1.0)


async def test_stop_finishes_what_runs_and_closes_what_idles(server: Server) -> None:
    idle_reader, idle_writer = await asyncio.open_connection(HOST, server.port)
    idle_writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    await idle_reader.read(10_000)
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(session.get(_url(server, "/slow")))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await server.stop(5.0)
        assert time.monotonic() - began < 2.0
        assert await (await running).json() == {"slow": True}
    assert await idle_reader.read() == b""
    idle_writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, server.port)


async def test_stop_does_not_wait_for_ever(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(session.get(_url(server, "/endless")))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await server.stop(0.2)
        assert time.monotonic() - began < 2.0
        with pytest.raises(aiohttp.ClientError):
            await running


async def test_a_server_that_hands_over_parts_from_each_connection_with_an_answer() -> None:
    app = new_app(1000)
    app.router.add_get("/ok", _ok)
    listener = bind(HOST, 0)
    first = await start_server(app, "", 0, reuse_port=True, keepalive_s=5.0, sockets=[one.dup() for one in listener])
    port = first.port
    asking, asking_writer = await asyncio.open_connection(HOST, port)
    new, new_writer = await asyncio.open_connection(HOST, port)
    _, idle_writer = await asyncio.open_connection(HOST, port)
    asking_writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Connection: close" not in await asking.read(10_000)
    handing_over = asyncio.create_task(first.hand_over(1.0))
    await asyncio.sleep(0.2)
    for reader, writer in ((asking, asking_writer), (new, new_writer)):
        writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read()  # to the end of the connection
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in answer
    # Nobody accepts now, and nobody is refused: the socket is still ours, and its next owner finds who waits.
    late, late_writer = await asyncio.open_connection(HOST, port)
    late_writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    await handing_over
    assert first.connections == 1  # the idle one, whose time is up
    await first.stop(1.0)
    app = new_app(1000)
    app.router.add_get("/ok", _ok)
    second = await start_server(app, "", 0, reuse_port=True, keepalive_s=5.0, sockets=listener)
    async with asyncio.timeout(5):
        assert (await late.read(10_000)).startswith(b"HTTP/1.1 200")
    for writer in (asking_writer, new_writer, idle_writer, late_writer):
        writer.close()
    await second.stop(1.0)


async def test_what_waits_in_the_socket_of_somebody_else_is_served(server: Server) -> None:
    [orphaned] = bind(HOST, 0)
    await server.take_waiting(orphaned)  # nobody has listened on it yet
    orphaned.listen()
    await server.take_waiting(orphaned)  # nobody waits
    for _ in range(3):
        reader, writer = await asyncio.open_connection(HOST, orphaned.getsockname()[1])
        writer.write(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.take_waiting(orphaned)
        async with asyncio.timeout(5):
            assert (await reader.read(10_000)).startswith(b"HTTP/1.1 200")
        writer.close()
    orphaned.close()


async def test_listeners_of_acceptors_that_go_are_served_by_the_others(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    listeners = Listeners(HOST, port, 0, tmp_path)
    first, second, third = (sockets[0] for sockets in listeners.of_acceptors(3))
    assert listeners.of_acceptors(1) == [[first, second, third]]
    assert listeners.of_acceptors(2) == [[first, third], [second]]
    assert [len(sockets) for sockets in listeners.of_acceptors(4)] == [1, 1, 1, 1]
    first.listen()
    with pytest.raises(PortTakenError):
        Listeners(HOST, port, 0, tmp_path)
    inside = listeners.of_analytics[-1]
    assert (inside.family, inside.getsockname()) == (socket.AF_UNIX, str(analytics_path(tmp_path)))
    assert analytics_path(tmp_path).stat().st_mode & 0o777 == 0o600
    listeners.close()
    ensure_port_free(HOST, port)
    with pytest.raises(ConfigError, match=r"analytics\.sock"):
        bind_unix(analytics_path(tmp_path / "nowhere"))


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            await start_server(new_app(1000), HOST, port, reuse_port=False, keepalive_s=5.0)
        with pytest.raises(PortTakenError, match=str(port)):
            ensure_port_free(HOST, port)
    ensure_port_free(HOST, port)


async def test_sharing_a_port_with_another_node_is_seen_beforehand() -> None:
    first = await start_server(new_app(1000), HOST, 0, reuse_port=True, keepalive_s=5.0)
    second = await start_server(new_app(1000), HOST, first.port, reuse_port=True, keepalive_s=5.0)
    with pytest.raises(PortTakenError):
        ensure_port_free(HOST, first.port)
    await first.stop(1.0)
    await second.stop(1.0)
    ensure_port_free(HOST, first.port)


async def test_an_address_of_another_machine_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError):
        await start_server(new_app(1000), "192.0.2.1", 0, reuse_port=False, keepalive_s=5.0)
    with pytest.raises(ConfigError):
        ensure_port_free("192.0.2.1", 3000)


async def test_a_limit_aiohttp_does_not_take_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = web.AppRunner

    def misspelt(app: web.Application, **limits: object) -> web.AppRunner:
        return genuine(app, **{**limits, "keep_alive_timeout": limits["keepalive_timeout"]})  # type: ignore[arg-type]

    monkeypatch.setattr(web, "AppRunner", misspelt)
    with pytest.raises(TypeError, match="keep_alive_timeout"):
        await start_server(new_app(1000), HOST, 0, reuse_port=False, keepalive_s=5.0)


async def test_a_limit_aiohttp_takes_and_ignores_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = web.AppRunner
    monkeypatch.setattr(web, "AppRunner", lambda app, **limits: genuine(app, **{**limits, "max_headers": 128}))
    with pytest.raises(RuntimeError, match="max_headers"):
        await start_server(new_app(1000), HOST, 0, reuse_port=False, keepalive_s=5.0)


async def test_a_connection_beyond_the_limit_is_answered_and_closed() -> None:
    app = new_app(1000)
    app.router.add_get("/ok", _ok)
    server = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=5.0, connections_max=2)
    first = [await asyncio.open_connection(HOST, server.port) for _ in range(2)]
    while server.connections < 2:  # accepted, not only connected
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")  # to its end
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert re.search(rb"\r\nRetry-After: [1-9][0-9]?\r\n", head)
    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body)["code"] == "overloaded"
    for _, opened in (*first, (reader, writer)):
        opened.close()
    while server.connections:
        await asyncio.sleep(0.01)
    async with aiohttp.ClientSession() as session, session.get(_url(server, "/ok")) as answer:
        assert answer.status == 200
    await server.stop(0.1)


def test_some_files_are_not_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, wanted in ((100, 50), (1024, 768), (1_000_000, 999_744)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, files=files: (files, files))
        assert connections.connections_limit(0) == wanted
        assert connections.connections_limit(20) == 20
        assert connections.connections_limit(2_000_000) == wanted


async def test_who_does_not_read_his_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.3)

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(20_000_000))  # more than all buffers on its way

    app = new_app(1000)
    app.router.add_get("/large", large)
    server = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=5.0, head_timeout_s=1.0)
    _, writer = await asyncio.open_connection(HOST, server.port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(20):
        while not server.entrance.ended["slow_reader"]:
            await asyncio.sleep(0.02)
        while server.connections:
            await asyncio.sleep(0.02)
    # Who reads slowly, and does, is served.
    async with aiohttp.ClientSession() as session, session.get(_url(server, "/large")) as answer:
        got = 0
        async for piece in answer.content.iter_chunked(1_000_000):
            got += len(piece)
            await asyncio.sleep(0.05)
    assert got == 20_000_000
    assert server.entrance.ended["slow_reader"] == 1
    writer.close()
    await server.stop(0.1)


async def test_no_answer_names_the_libraries(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/ok", "/nowhere", "/broken"):
            async with session.get(_url(server, path)) as answer:
                assert answer.headers["Server"] == "hseie"


async def test_another_http_than_1_is_answered_in_1_1(server: Server) -> None:
    for line in (b"GET /ok HTTP/2.0", b"GET /ok HTTP/0.9", b"GET /ok"):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(line + b"\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.parametrize("hsts", [True, False])
async def test_browsers_are_held_to_tls_where_there_is_tls(hsts: bool) -> None:
    app = new_app(1000, hsts=hsts)
    app.router.add_get("/ok", _ok)
    server = await start_server(app, HOST, 0, reuse_port=False, keepalive_s=5.0)
    for path in ("/ok", "/nothing"):
        async with aiohttp.ClientSession() as session, session.get(_url(server, path)) as answer:
            assert ("Strict-Transport-Security" in answer.headers) == hsts
            assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
    await server.stop(1.0)


def test_without_origins_nothing_of_cors_is_on_the_way_of_a_request() -> None:
    plain, open_to_one = new_app(1000), new_app(1000, ["https://fleet.example"])
    assert len(open_to_one.middlewares) == len(plain.middlewares) + 1
    assert len(open_to_one.on_response_prepare) == len(plain.on_response_prepare) + 1


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _opened(path: str, route: Handler, **options: float) -> Server:
    app = new_app(100_000)
    app.router.add_route("*", path, route)
    return await start_server(app, HOST, 0, reuse_port=False, **{"keepalive_s": 30.0, **options})  # type: ignore[arg-type]


POST_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("pieces", [[POST_HEAD + b"abc"], [POST_HEAD, b"abc"], [POST_HEAD + b"abc", b"\r\n"]])
async def test_a_connection_that_rests_after_a_body_is_no_slow_head(pieces: list[bytes]) -> None:
    server = await _opened("/", _echo, head_timeout_s=0.5)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    assert (await reader.read(4000)).startswith(b"HTTP/1.1 200")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(4000), 1.5)
    assert not server.entrance.ended
    writer.write(POST_HEAD[:20])  # that is one
    assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 408")
    writer.close()
    await server.stop(0.1)


async def test_a_connection_that_closes_on_a_client_who_does_not_read_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.5)

    async def fill(request: web.Request) -> web.Response:
        return web.Response(body=bytes(40_000))  # below what pauses writing

    server = await _opened("/", fill, head_timeout_s=1.0, keepalive_s=0.3)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (HOST, server.port))
        for _ in range(200):  # until nothing fits between the two any more
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while server.connections or not server.entrance.ended["slow_reader"]:
                await asyncio.sleep(0.02)
    await server.stop(0.1)


def test_the_time_for_reading_an_answer_begins_with_each_answer() -> None:
    connection = Mock(spec=Connection, _unread=0, _stuck_since=0.0, _ended=Counter(), is_idle=True, transport=None)
    for unread, now in ((70_000, 100.0), (70_000, 110.0), (0, 120.0), (70_000, 400.0), (70_000, 450.0)):
        connection._wire.get_write_buffer_size.return_value = unread
        Connection.cut(connection, now, 20.0, 60.0)
    assert not connection._wire.abort.called
    Connection.cut(connection, 461.0, 20.0, 60.0)
    assert connection._wire.abort.called
    assert connection._ended == {"slow_reader": 1}


@pytest.mark.parametrize("cut_off", [POST_HEAD + b"a", POST_HEAD[:-5], b"\r\n"])
async def test_answers_that_are_due_come_before_what_was_cut_off(cut_off: bytes) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(body=b"answer " + await request.read())

    server = await _opened("/", slow)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(POST_HEAD + b"one" + POST_HEAD + b"two" + cut_off)
    await asyncio.sleep(0.05)
    writer.write_eof()
    answers = await asyncio.wait_for(reader.read(), 20)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert b"answer one" in answers
    assert b"answer two" in answers
    assert (b"bad_encoding" in answers) == (cut_off == POST_HEAD + b"a")
    writer.close()
    await server.stop(0.1)


async def test_what_comes_behind_a_declined_upgrade_is_cut_off_too() -> None:
    server = await _opened("/", _echo)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    writer.write(upgrade + POST_HEAD + b"a")
    await asyncio.sleep(0.1)
    writer.write_eof()
    answers = await asyncio.wait_for(reader.read(), 20)
    assert answers.count(b"HTTP/1.1") == 2
    assert b"bad_encoding" in answers
    writer.close()
    await server.stop(0.1)


async def test_a_connection_that_cannot_be_looked_at_costs_no_other_its_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await _opened("/", _echo, head_timeout_s=0.3)
    genuine, looked = Connection.cut, 0

    def cut(connection: Connection, *times: float) -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise ValueError("odd")
        genuine(connection, *times)

    monkeypatch.setattr(Connection, "cut", cut)
    opened = [await asyncio.open_connection(HOST, server.port) for _ in range(2)]
    for reader, writer in opened:
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
    assert server.entrance.ended["silent"] == 1
    await server.stop(0.1)
