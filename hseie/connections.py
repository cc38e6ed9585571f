"""The connections of an HTTP server: how many there may be, and the look for those whose client takes too long.

aiohttp has neither limit.
"""

import asyncio
import resource
import socket
from collections import Counter
from typing import Any

import structlog
from aiohttp import web

from hseie.http_connection import Connection, plain_answer
from hseie.problems import problem_answer

# A client that has not read an answer for so long is gone.
ANSWER_TIMEOUT_S = 60.0
_SWEEPS_IN_A_TIMEOUT = 10
# Of the files that this process may have open, so many are not for connections of clients. At the limit itself accept()
# would fail, and uvloop may then close the listening socket for good.
_FILES_RESERVED = 256

_log = structlog.get_logger("hseie.web")


class _Refusal(asyncio.Protocol):
    """Answers a connection that is one too many, and hangs up."""

    def __init__(self) -> None:
        self._answer = plain_answer(problem_answer("overloaded", "Too many connections are open."))

    def connection_made(self, transport: Any) -> None:  # uvloop's are no asyncio.Transport
        transport.write(self._answer)
        transport.close()


class Entrance:
    """Makes the protocols of new connections of a server, `connections_max` at the most; the others are turned away.

    `ended` counts the connections that were ended from here, by why.
    """

    def __init__(self, server: web.Server, connections_max: int) -> None:
        self.connections_max = connections_max
        self.ended: Counter[str] = Counter()
        self._server = server

    def accept(self) -> asyncio.Protocol:
        """Return what serves a connection, or turns it away."""
        # Not `server.connections`, which copies them all into a list.
        if len(self._server._connections) < self.connections_max:
            return self.new_connection()
        self.ended["turned_away"] += 1
        return _Refusal()

    def new_connection(self) -> Connection:
        """Return the protocol of a connection to be. Raises TypeError for an option that aiohttp does not know.

        aiohttp's own way answers one that it does not know by dropping all of them, limits too.
        """
        return Connection(self._server, self.ended, loop=self._server._loop, **self._server._kwargs)


class LimitedSite(web.SockSite):
    """Serves a bound socket with what its entrance makes."""

    def __init__(self, runner: web.BaseRunner, bound: socket.socket, entrance: Entrance, *, backlog: int) -> None:
        super().__init__(runner, bound, backlog=backlog)
        self._bound = bound
        self._entrance = entrance

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        listen: Any = loop.create_unix_server if self._bound.family == socket.AF_UNIX else loop.create_server
        self._server = await listen(self._entrance.accept, sock=self._bound, backlog=self._backlog)


def connections_limit(wanted: int) -> int:
    """Return how many connections a process may have: those wanted (0: as many as can be), no more than it can open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = max(files - _FILES_RESERVED, files // 2)
    return min(wanted, possible) if wanted else possible


async def cut_slow(server: web.Server, head_timeout_s: float) -> None:
    """Close, for ever, the connections whose clients take too long. Between requests the keep-alive limit holds."""
    while True:
        await asyncio.sleep(head_timeout_s / _SWEEPS_IN_A_TIMEOUT)
        now = asyncio.get_running_loop().time()
        for connection in server.connections:
            try:
                if isinstance(connection, Connection):
                    connection.cut(now, head_timeout_s, ANSWER_TIMEOUT_S)
            except Exception:  # one that cannot be looked at may not cost the others their limits
                _log.exception("connection_not_looked_at")
                connection.force_close()


def server_of(runner: web.BaseRunner) -> web.Server:
    """Return the server that a runner has set up."""
    if runner.server is None:
        raise RuntimeError("the server is not set up")
    return runner.server
