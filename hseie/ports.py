"""Ports of a node: whether they are free, and sockets on them that outlive the processes which serve them.

The node binds, the processes inherit: a listening socket is closed only when its last holder closes it, so a process
can be replaced without a connection being refused or reset on its way in.
"""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hseie.errors import ConfigError, HseieError, PortTakenError

# Where analytics answers the acceptors, and whoever else of this user asks, in plain HTTP: a socket in the run folder.
_ANALYTICS_SOCKET = "analytics.sock"


class Listeners:
    """The bound sockets of a node: of the acceptors, who share a port, and of analytics. Kept until `close`.

    There is a listener for each acceptor (one socket an address of the host), because the kernel deals connections out
    among listeners evenly, and processes that share one do not. When the number of acceptors shrinks, the listeners
    of those that go are served by the others: what waits in a socket that is closed would be reset.
    """

    def __init__(self, host: str, port: int, analytics_port: int, run_dir: Path) -> None:
        """Take the ports, and make the socket in the run folder, which is prepared.

        Raises PortTakenError, or ConfigError for an address this machine does not have.
        """
        for wanted in (port, analytics_port):
            ensure_port_free(host, wanted)
        self._host = host
        self._port = port
        self._of_acceptors: list[list[socket.socket]] = []
        self.of_analytics: Sequence[socket.socket] = (*bind(host, analytics_port), bind_unix(analytics_path(run_dir)))

    def of_acceptors(self, acceptors: int) -> list[list[socket.socket]]:
        """Return the sockets of each of so many acceptors, making what is missing. Raises ConfigError."""
        while len(self._of_acceptors) < acceptors:
            self._of_acceptors.append(bind(self._host, self._port))
        return [
            [one for listener in self._of_acceptors[number::acceptors] for one in listener]
            for number in range(acceptors)
        ]

    def close(self) -> None:
        """Close our copies; a port is free once the processes have closed theirs. A second call does nothing."""
        for listener in (*self._of_acceptors, self.of_analytics):
            for one in listener:
                one.close()


def analytics_path(run_dir: Path) -> Path:
    """Return the Unix socket on which analytics answers in plain HTTP, to this user only."""
    return run_dir / _ANALYTICS_SOCKET


def bind_unix(path: Path) -> socket.socket:
    """Return a Unix socket bound to a path that does not exist, for this user only. Raises ConfigError."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        one.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        one.close()
        raise ConfigError(f"cannot make the socket {path}: {error.strerror or error}") from None
    return one


def bind(host: str, port: int, *, share: bool = True) -> list[socket.socket]:
    """Return sockets bound to the port, one an address of the host, that listen to nothing yet.

    With `share`, several of the same user have the port (SO_REUSEPORT): each that listens gets its part of the
    connections.
    Raises PortTakenError, or ConfigError for an address this machine does not have.
    """
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            one = socket.socket(family, kind, protocol)
            bound.append(one)
            _prepare(one)
            one.setblocking(False)  # for all who will hold it
            if share:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
    except OSError as error:
        for one in bound:
            one.close()
        raise bind_error(error, host, port) from error
    return bound


def ensure_port_free(host: str, port: int) -> None:
    """Raise PortTakenError if anything listens on the port already.

    To be called once before servers start with SO_REUSEPORT: they would silently share the port with another node of
    the same user, and each would get half of the other's requests.
    """
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            with socket.socket(family, kind, protocol) as probe:
                _prepare(probe)
                probe.bind(address)
    except OSError as error:
        raise bind_error(error, host, port) from error


def is_loopback(host: str) -> bool:
    """Tell whether every address that a host name stands for is reached from this machine only; wildcards are not.

    Raises ConfigError for a name that stands for none.
    """
    try:
        found = [address[0].partition("%")[0] for *_, address in _addresses(host, 0)]
    except OSError as error:
        raise bind_error(error, host, 0) from error
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _addresses(host: str, port: int) -> list[Any]:
    return list(dict.fromkeys(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)))


def _prepare(one: socket.socket) -> None:
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Connections of a stopped node that still wait in TIME_WAIT do not count.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def bind_error(error: OSError, host: str, port: int) -> HseieError:
    place = f"{host or '*'}:{port}" if port else host
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(
            f"port {port} is taken: something else listens on {place}; choose another http.port (--port)"
        )
    return ConfigError(f"cannot listen on {place}: {error.strerror or error}")
