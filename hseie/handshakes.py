"""The way of a connection into an HTTPS server: accepted, secured by a TLS handshake, then one of HTTP.

The event loop's own servers would do the same, but tell nobody of a connection before it is secured: those who begin a
handshake and do not go on could have all files of the process. Here they count, and have a time.
"""

import asyncio
import errno
import socket
import ssl

from aiohttp import web

from hseie.connections import Entrance

# The most that an honest handshake may take, over a bad radio link too.
HANDSHAKE_TIMEOUT_S = 10.0
# A client that does not say goodbye is waited for so long.
_SHUTDOWN_TIMEOUT_S = 5.0
# So many are accepted before others get their turn.
_ACCEPTED_AT_ONCE = 64
_ACCEPT_AGAIN_S = 1.0
_NOTHING_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Handshakes:
    """Secures accepted sockets and gives them to a server, through its entrance, whose limit holds for them too."""

    def __init__(self, server: web.Server, entrance: Entrance, context: ssl.SSLContext) -> None:
        self._server = server
        self._entrance = entrance
        self._context = context
        self._under_way: set[asyncio.Task[None]] = set()
        self.failed = 0

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def begin(self, connection: socket.socket) -> None:
        """Take over an accepted socket. One too many is closed without a word: words would take a handshake."""
        if len(self._server._connections) + len(self._under_way) >= self._entrance.connections_max:
            self._entrance.ended["turned_away"] += 1
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._secure(connection))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _secure(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._entrance.new_connection,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            )
        except OSError:  # SSLError too: no TLS, an old version, no good certificate; or it has gone, or took too long
            self.failed += 1

    def stop(self) -> None:
        """End those that are under way."""
        for task in self._under_way:
            task.cancel()


class SecureSite(web.BaseSite):
    """Accepts the connections of a bound socket for `Handshakes`."""

    def __init__(self, runner: web.BaseRunner, bound: socket.socket, *, backlog: int, handshakes: Handshakes) -> None:
        super().__init__(runner, backlog=backlog)
        self._bound = bound
        self._handshakes = handshakes
        self._pause: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return "https"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        self._bound.listen(self._backlog)
        self._go_on()

    async def stop(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._bound)
        self._bound.close()
        await super().stop()

    def _go_on(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._bound, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _ = self._bound.accept()
            except OSError as error:  # nobody waits any more, or who waited has gone
                if error.errno in _NOTHING_LEFT:  # who waits goes on waiting, and would wake us at once
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._bound)
                    self._pause = loop.call_later(_ACCEPT_AGAIN_S, self._go_on)
                return
            self._handshakes.begin(connection)
