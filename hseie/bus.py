"""ZeroMQ: one bound and one connecting socket type, driven by the event loop. The only importer of pyzmq.

A socket has one owner, the loop it was made in. ZeroMQ tells of arrivals by an edge-triggered descriptor, so a wake-up
reads until nothing is left, and every send looks whether it swallowed an edge. A send that succeeded only queued: who
needs to know that a message arrived waits for an answer.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
import zmq

from hseie.errors import FrameError

MESSAGES_IN_QUEUE_MAX = 1000  # per peer and direction; byte limits are kept by the users of the sockets
_MESSAGES_PER_WAKE = 200  # then other work of the loop gets its turn
_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 500

_log = structlog.get_logger("hseie.bus")


def ipc_endpoint(run_dir: Path, name: str) -> str:
    """Return the address of the socket `name` in the node's run folder."""
    return f"ipc://{run_dir}/{name}.sock"


class _Socket:
    """What both types share: options, the wake-up, reading until empty, the count of refused messages."""

    def __init__(self, kind: int, message_bytes_max: int) -> None:
        self.refused = 0  # messages that were not ours, or not of our form
        self.unsent = 0  # messages for which there was nobody, or no room in the queue
        self._loop = asyncio.get_running_loop()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, MESSAGES_IN_QUEUE_MAX)
        self._socket.setsockopt(zmq.RCVHWM, MESSAGES_IN_QUEUE_MAX)
        self._socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        self._wake_planned = False
        self._closed = False

    def _listen(self) -> None:
        self._loop.add_reader(self._descriptor, self._read_all)
        self._plan_wake()  # whatever came before the reader was there makes no edge any more

    def _plan_wake(self) -> None:
        if not self._wake_planned and not self._closed:
            self._wake_planned = True
            self._loop.call_soon(self._read_all)

    def _read_all(self) -> None:
        self._wake_planned = False
        if self._closed:
            return
        for _ in range(_MESSAGES_PER_WAKE):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._deliver(parts)
            except FrameError:
                self.refused += 1
            except Exception:
                # A bug met in one message must not stop those behind it: nobody would wake this socket again.
                self.refused += 1
                _log.exception("message_failed")
            if self._closed:
                return
        self._plan_wake()

    def _deliver(self, parts: list[bytes]) -> None:
        raise NotImplementedError

    def _send(self, parts: list[bytes]) -> bool:
        if self._closed:
            return False
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError:  # Again: full or not connected; EHOSTUNREACH: that peer is gone
            self.unsent += 1
            return False
        finally:
            if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._plan_wake()
        return True

    def close(self) -> None:
        """Close the socket; what it still had queued is dropped. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._socket.close()


class Router(_Socket):
    """A bound socket that knows its peers apart and answers to each.

    `on_message(peer, body)` is called on the loop; it raises FrameError for what is not ours, which is then counted.
    """

    def __init__(self, endpoint: str, on_message: Callable[[bytes, bytes], None], *, message_bytes_max: int) -> None:
        super().__init__(zmq.ROUTER, message_bytes_max)
        self._on_message = on_message
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # without it, messages to a lost peer vanish silently
        self._socket.bind(endpoint)
        self._listen()

    def _deliver(self, parts: list[bytes]) -> None:
        if len(parts) != 2:
            raise FrameError("a message has one part")
        self._on_message(parts[0], parts[1])

    def send(self, peer: bytes, body: bytes) -> bool:
        """Queue a message; False when that peer is gone or its queue is full."""
        return self._send([peer, body])


class Dealer(_Socket):
    """A connecting socket that reconnects by itself. `on_message(body)` is called on the loop, as with Router."""

    def __init__(self, endpoint: str, on_message: Callable[[bytes], None], *, message_bytes_max: int) -> None:
        super().__init__(zmq.DEALER, message_bytes_max)
        self._on_message = on_message
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue only to a finished connection, so that False means "away"
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        self._socket.connect(endpoint)
        self._listen()

    def _deliver(self, parts: list[bytes]) -> None:
        if len(parts) != 1:
            raise FrameError("a message has one part")
        self._on_message(parts[0])

    def send(self, body: bytes) -> bool:
        """Queue a message; False when nobody is connected or the queue is full."""
        return self._send([body])
