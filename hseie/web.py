"""HTTP servers: answers in HSEIE's form, the last net under every request, start and orderly stop.

Shared by the acceptors and analytics; the only place that sets up servers of aiohttp.
"""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
import structlog
from aiohttp import http_exceptions, web
from aiohttp.typedefs import Handler

from hseie.errors import ConfigError, HseieError, PortTakenError
from hseie.problems import ErrorItem, problem_answer

JSON = "application/json"

# What one request head may cost. aiohttp counts bytes of a line or field and fields of a head.
LINE_BYTES_MAX = 8190
FIELD_BYTES_MAX = 8190
FIELDS_MAX = 64
# After an answer that did not need the whole body (413), the rest is read and thrown away for so long.
LINGER_S = 2.0
# aiohttp waits for ever for what was promised and does not come: the first request's head, and a body.
HEAD_TIMEOUT_S = 20.0
BODY_TIMEOUT_S = 30.0
_SWEEP_S = 2.0
# Of the files that this process may have open, so many are not for connections of clients. At the limit itself accept()
# would fail, and uvloop may then close the listening socket for good.
_FILES_RESERVED = 256

_log = structlog.get_logger("hseie.web")


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer; Structs are taken too."""
    body = orjson.dumps(document, default=msgspec.to_builtins)
    return web.Response(body=body, status=status, headers=headers, content_type=JSON)


def problem(
    code: str,
    detail: str = "",
    errors: Sequence[ErrorItem] = (),
    extra: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return the answer for a problem declared in `hseie.problems`. Raises KeyError for one that is not."""
    answer = problem_answer(code, detail, errors, extra)
    return web.Response(body=answer.body, status=answer.status, headers={**answer.headers, **(headers or {})})


async def read_body(request: web.Request) -> bytes:
    """Return the whole body, inflated.

    Raises what the safety net answers: 413 for one over the limit, 408 for one that does not come within
    BODY_TIMEOUT_S.
    """
    if request.content.is_eof():  # as good as always: it came with the head, and a timer would cost 2 µs
        return await request.read()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


@web.middleware
async def _safety_net(request: web.Request, handler: Handler) -> web.StreamResponse:
    # On the hot path this is one more frame around the coroutine of the route: 0.2 µs measured.
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return problem("not_found")
    except web.HTTPMethodNotAllowed as error:
        return problem("method_not_allowed", headers={"Allow": ", ".join(sorted(error.allowed_methods))})
    except web.HTTPRequestEntityTooLarge:
        return problem("too_large")
    except web.HTTPRequestTimeout:
        answer = problem("request_timeout")
        answer.force_close()
        return answer
    except web.RequestPayloadError:
        answer = problem("bad_encoding")
        answer.force_close()
        return answer
    except (web.HTTPException, ConnectionError):
        raise  # a redirect, or the client has gone: aiohttp knows both
    except Exception:
        _log.exception("request_failed", method=request.method, route=_route(request))
        return problem("internal")


def _route(request: web.Request) -> str:
    # The route's pattern, not the path: ids of devices are nobody's business in a log.
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def new_app(body_bytes_max: int) -> web.Application:
    """Return an application on which unknown paths, wrong methods and bugs are answered as problems."""
    return web.Application(middlewares=[_safety_net], client_max_size=body_bytes_max)


class _Refusal(asyncio.Protocol):
    """Answers a connection that is one too many, and hangs up."""

    def __init__(self) -> None:
        answer = problem_answer("overloaded", "Too many connections are open.")
        status = HTTPStatus(answer.status)
        headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._answer = f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + answer.body

    def connection_made(self, transport: Any) -> None:  # uvloop's are no asyncio.Transport
        transport.write(self._answer)
        transport.close()


class _Site(web.TCPSite):
    """A site with a limit on open connections."""

    async def start(self) -> None:
        await web.BaseSite.start(self)
        inner = _inner(self._runner)
        connections_max = _connections_max()

        def accept() -> asyncio.Protocol:
            return inner() if len(inner._connections) < connections_max else _Refusal()

        self._server = await asyncio.get_running_loop().create_server(
            accept, self._host, self._port, backlog=self._backlog, reuse_port=self._reuse_port
        )
        self._bound_port = self._server.sockets[0].getsockname()[1]


def _connections_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(files - _FILES_RESERVED, files // 2)


class Server:
    """A running HTTP server. Made by `start_server`."""

    def __init__(self, runner: web.AppRunner, site: web.TCPSite) -> None:
        self._runner = runner
        self._site = site
        self._sweeping = asyncio.create_task(_close_silent(_inner(runner)))

    @property
    def port(self) -> int:
        """The bound port, also where 0 was asked for."""
        return self._site.port

    @property
    def connections(self) -> int:
        """Open connections, idle ones too."""
        return len(_inner(self._runner).connections)

    async def stop(self, timeout_s: float) -> None:
        """Stop: no new connections, idle ones closed at once, running requests finished within `timeout_s`.

        What still runs then is cancelled. A second call does nothing.
        """
        if self._site not in self._runner.sites:
            return
        # In the steps of `AppRunner.cleanup`, whose own time-out is fixed when the server is made.
        inner = _inner(self._runner)
        self._sweeping.cancel()
        await self._site.stop()
        await asyncio.sleep(0)  # requests already read get their turn, so that they count as running
        inner.pre_shutdown()
        await self._runner.shutdown()  # on_shutdown: streams without an end are ended by their owners here
        await inner.shutdown(timeout_s)
        await self._runner.app.cleanup()


async def start_server(
    app: web.Application, host: str, port: int, *, reuse_port: bool, keepalive_s: float, backlog: int = 1024
) -> Server:
    """Start serving `app`. Raises PortTakenError, or ConfigError for an address this machine does not have."""
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_server_logger(),
        keepalive_timeout=keepalive_s,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=FIELD_BYTES_MAX,
        max_headers=FIELDS_MAX,
        lingering_time=LINGER_S,
    )
    await runner.setup()
    _check_limits(runner, keepalive_s)
    site = _Site(runner, host, port, backlog=backlog, reuse_port=reuse_port or None)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise _bind_error(error, host, port) from error
    return Server(runner, site)


def ensure_port_free(host: str, port: int) -> None:
    """Raise PortTakenError if anything listens on the port already.

    To be called once before servers start with SO_REUSEPORT: they would silently share the port with another node of
    the same user, and each would get half of the other's requests.
    """
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Connections of a stopped node that still wait in TIME_WAIT do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise _bind_error(error, host, port) from error


def _bind_error(error: OSError, host: str, port: int) -> HseieError:
    place = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(
            f"port {port} is taken: something else listens on {place}; choose another http.port (--port)"
        )
    return ConfigError(f"cannot listen on {place}: {error.strerror or error}")


async def _close_silent(server: web.Server) -> None:
    """Close, for ever, connections that do not send their first request. Later ones are up to the keep-alive limit."""
    since: dict[web.RequestHandler, float] = {}
    while True:
        now = asyncio.get_running_loop().time()
        since = {
            connection: since.get(connection, now)
            for connection in server.connections
            if connection._request_count == 0
        }
        for connection, first_seen in since.items():
            if now - first_seen > HEAD_TIMEOUT_S:
                connection.force_close()
        await asyncio.sleep(_SWEEP_S)


def _inner(runner: web.BaseRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the server is not set up")
    return runner.server


def _check_limits(runner: web.AppRunner, keepalive_s: float) -> None:
    # aiohttp answers one keyword it does not know by dropping all of them, with a warning at the first connection.
    # So a connection is made here without a socket, and asked.
    connection = _inner(runner)()
    wanted = {
        "_keepalive_timeout": keepalive_s,
        "max_line_size": LINE_BYTES_MAX,
        "max_field_size": FIELD_BYTES_MAX,
        "max_headers": FIELDS_MAX,
        "_lingering_time": LINGER_S,
        "access_log": None,
        "_request_count": 0,
    }
    for name, value in wanted.items():
        if getattr(connection, name, "no such limit") != value:
            raise RuntimeError(f"aiohttp did not take the limit {name.strip('_')} = {value}")


def _server_logger() -> logging.Logger:
    # Bugs end in _safety_net. What aiohttp would log besides is, with a traceback each, what strangers send to a port.
    logger = logging.getLogger("hseie.http")
    if _not_clients_noise not in logger.filters:
        logger.addFilter(_not_clients_noise)
    return logger


def _not_clients_noise(record: logging.LogRecord) -> bool:
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, http_exceptions.HttpProcessingError | web.RequestPayloadError | ConnectionError)
