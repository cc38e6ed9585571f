"""Bytes over a socket, and the answer as it came: nothing is normalised on the way."""

import http.client
import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 60.0
ALIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Reply:
    """An answer: `raw` is its head and body as text, `document` the body if that is JSON. `version` is 10 or 11."""

    version: int
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")

    @property
    def is_last(self) -> bool:
        """Whether it says that the connection ends with it; in HTTP/1.0 that needs no word."""
        said = self.headers.get("Connection", "").lower()
        return said == "close" or (self.version == 10 and said != "keep-alive")

    @property
    def document(self) -> Any:
        return json.loads(self.body) if "json" in self.content_type and self.body else None

    @property
    def raw(self) -> str:
        return f"{self.headers}{self.body.decode(errors='replace')}"


class Connection:
    """One connection to a node."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send bytes. A server may answer and hang up before all were sent; the answer can be read all the same."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(request)

    def end(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def read(self, method: str = "POST") -> Reply:
        """Read one answer. Raises HTTPException or ConnectionError when there is none."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            return Reply(response.version, response.status, response.headers, response.read())
        finally:
            response.close()

    def ask(self, request: bytes, method: str = "POST") -> Reply:
        """Send the bytes of a request and read one answer."""
        self.send(request)
        return self.read(method)

    def is_open(self) -> bool:
        """Whether the next request on this connection is answered; False when the server has hung up."""
        try:
            return self.ask(ALIVE, "GET").status == 200
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return False
