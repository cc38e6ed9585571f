"""The connections of an HTTP server: how many there may be, and which are closed because nothing comes.

aiohttp has neither limit.
"""

import asyncio
import resource
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from hseie.problems import problem_answer

# aiohttp waits for ever for the head of a connection's first request.
HEAD_TIMEOUT_S = 20.0
_SWEEP_S = 2.0
# Of the files that this process may have open, so many are not for connections of clients. At the limit itself accept()
# would fail, and uvloop may then close the listening socket for good.
_FILES_RESERVED = 256


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


class LimitedSite(web.SockSite):
    """Serves a bound socket, and turns away connections above `connections_max`."""

    def __init__(self, runner: web.BaseRunner, bound: socket.socket, *, backlog: int) -> None:
        super().__init__(runner, bound, backlog=backlog)
        self._bound = bound

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await web.BaseSite.start(self)
        self._server = await asyncio.get_running_loop().create_server(
            accept_with(server_of(self._runner)), sock=self._bound, backlog=self._backlog
        )


def accept_with(server: web.Server) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of a new connection: the server's, or a refusal when there are too many."""
    limit = connections_max()

    def accept() -> asyncio.Protocol:
        # Not `server.connections`, which copies them all into a list.
        return server() if len(server._connections) < limit else _Refusal()

    return accept


def connections_max() -> int:
    """Return how many connections a process may have: what it may open, less what it needs for itself."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(files - _FILES_RESERVED, files // 2)


async def close_silent(server: web.Server) -> None:
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


def server_of(runner: web.BaseRunner) -> web.Server:
    """Return the server that a runner has set up."""
    if runner.server is None:
        raise RuntimeError("the server is not set up")
    return runner.server
