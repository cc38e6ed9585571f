"""HTTP servers: start with their limits, and the orderly stop. The only place that sets up servers of aiohttp."""

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence

from aiohttp import http_exceptions, web, web_response

from hseie.connections import Entrance, LimitedSite, connections_limit, cut_slow, server_of
from hseie.handshakes import Handshakes, SecureSite
from hseie.http_connection import Connection
from hseie.ports import bind, bind_error
from hseie.web import FAREWELL

# What one request head may cost. aiohttp counts bytes of a line or field and fields of a head.
LINE_BYTES_MAX = 8190
FIELD_BYTES_MAX = 8190
FIELDS_MAX = 64
# After an answer that did not need the whole body (413), the rest is read and thrown away for so long.
LINGER_S = 2.0
_FAREWELL_LOOK_S = 0.05


class Server:
    """A running HTTP server. Made by `start_server`."""

    def __init__(
        self,
        runner: web.AppRunner,
        sites: Sequence[web.BaseSite],
        port: int,
        entrance: Entrance,
        head_timeout_s: float,
        handshakes: Handshakes | None,
    ) -> None:
        self._runner = runner
        self._sites = sites
        self._handshakes = handshakes
        self.entrance = entrance
        self.port = port  # the bound one, also where 0 was asked for
        self._stopped = False
        self._sweeping = asyncio.create_task(cut_slow(server_of(runner), head_timeout_s))

    @property
    def connections(self) -> int:
        """Open connections, idle ones too, and those that are not secured yet."""
        return len(server_of(self._runner).connections) + (len(self._handshakes) if self._handshakes is not None else 0)

    def handshake_figures(self) -> dict[str, int]:
        """Return what a heartbeat tells of the TLS handshakes; zeros for plain HTTP."""
        found = self._handshakes
        return {
            "handshakes": len(found) if found is not None else 0,
            "handshakes_failed": found.failed if found is not None else 0,
        }

    async def take_waiting(self, listening: socket.socket) -> None:
        """Serve the connections that wait in a listening socket of somebody who does not come to it."""
        loop = asyncio.get_running_loop()
        while not self._stopped:
            try:
                connection, _ = listening.accept()
                if self._handshakes is not None:
                    self._handshakes.begin(connection)
                    continue
                connection.setblocking(False)
                await loop.connect_accepted_socket(self.entrance.accept, connection)
            except OSError:  # nobody waits, nobody has listened on it yet, or who waited has gone
                return

    async def hand_over(self, timeout_s: float) -> None:
        """Leave new connections to those who listen on the same sockets, and part from the open ones with an answer.

        A connection that is closed while a request is on its way to it costs that request, so each gets up to
        `timeout_s` to ask once more: the answer says that it is the last one. To be followed by `stop`.
        """
        await self._close_sites()
        self._runner.app[FAREWELL].begun = True
        until = time.monotonic() + timeout_s
        while self.connections and time.monotonic() < until:  # noqa: ASYNC110  # aiohttp does not tell
            await asyncio.sleep(_FAREWELL_LOOK_S)

    async def stop(self, timeout_s: float) -> None:
        """Stop: no new connections, idle ones closed at once, running requests finished within `timeout_s`.

        What still runs then is cancelled. A second call does nothing.
        """
        if self._stopped:
            return
        self._stopped = True
        # In the steps of `AppRunner.cleanup`, whose own time-out is fixed when the server is made.
        inner = server_of(self._runner)
        self._sweeping.cancel()
        await self._close_sites()
        if self._handshakes is not None:
            self._handshakes.stop()
        await asyncio.sleep(0)  # requests already read get their turn, so that they count as running
        inner.pre_shutdown()
        await self._runner.shutdown()  # on_shutdown: streams without an end are ended by their owners here
        await inner.shutdown(timeout_s)
        await self._runner.app.cleanup()

    async def _close_sites(self) -> None:
        for site in self._sites:
            if site in self._runner.sites:
                await site.stop()


async def start_server(
    app: web.Application,
    host: str,
    port: int,
    *,
    reuse_port: bool,
    keepalive_s: float,
    head_timeout_s: float = 20.0,
    connections_max: int = 0,
    sockets: Sequence[socket.socket] = (),
    backlog: int = 1024,
    ssl_context: ssl.SSLContext | None = None,
) -> Server:
    """Start serving `app` on the bound `sockets` or, without any, on a port of its own.

    With `ssl_context` it serves HTTPS, but on Unix sockets, where nobody listens in.

    A head has `head_timeout_s`. Of more connections than `connections_max` (0: as many as the process may open) the
    newest are turned away.
    Raises PortTakenError, or ConfigError for an address this machine does not have.
    """
    # Versions of libraries are nobody's business. A header of our own on each answer would cost each answer.
    web_response.SERVER_SOFTWARE = "hseie"  # type: ignore[attr-defined]
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_server_logger(),
        keepalive_timeout=keepalive_s,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=FIELD_BYTES_MAX,
        max_headers=FIELDS_MAX,
        lingering_time=LINGER_S,
        auto_decompress=False,  # acceptor/inflate.py does it; without, a body without its end would be taken
    )
    await runner.setup()
    entrance = Entrance(server_of(runner), connections_limit(connections_max))
    _check_limits(entrance.new_connection(), keepalive_s)
    bound = sockets or bind(host, port, share=reuse_port)
    bound_port: int = bound[0].getsockname()[1]
    handshakes = Handshakes(server_of(runner), entrance, ssl_context) if ssl_context is not None else None
    sites: list[web.BaseSite] = [
        SecureSite(runner, one, backlog=backlog, handshakes=handshakes)
        if handshakes is not None and one.family != socket.AF_UNIX
        else LimitedSite(runner, one, entrance, backlog=backlog)
        for one in bound
    ]
    try:
        for site in sites:
            await site.start()
    except OSError as error:
        await runner.cleanup()
        raise bind_error(error, host, port) from error
    return Server(runner, sites, bound_port, entrance, head_timeout_s, handshakes)


def _check_limits(connection: Connection, keepalive_s: float) -> None:
    # An option that another version of aiohttp takes and ignores would be a limit that is not there. So a connection
    # without a socket is asked.
    wanted: dict[str, object] = {
        "_keepalive_timeout": keepalive_s,
        "max_line_size": LINE_BYTES_MAX,
        "max_field_size": FIELD_BYTES_MAX,
        "max_headers": FIELDS_MAX,
        "_lingering_time": LINGER_S,
        "access_log": None,
        # What `http_connection` stands on, as aiohttp begins with it.
        "_request_count": 0,
        "_waiter": None,
        "_current_request": None,
        "_messages": deque(),
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
