"""A lean HTTP/1.1 client: one request at a time on a kept-alive connection.

A load generator must cost less than what it loads. This one does what an ingest client needs and no more:
no pipelining, no redirects, no compression, no chunked answers.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from time import monotonic
from typing import NamedTuple, cast
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024


class NotSentError(ConnectionError):
    """No connection came about: the server has not seen the request. It may be tried again."""


class NotTrustedError(NotSentError):
    """The server's certificate is not one to be trusted. Trying again does not help."""


class UnansweredError(ConnectionError):
    """The request was sent and no answer came: the server may have taken it or not."""


class GarbledError(UnansweredError):
    """What came back is no answer this client understands."""


class Target(NamedTuple):
    """Where the server is, and with https:// how it is spoken to."""

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str, ca: str | None = None, certificate: str | None = None) -> Target:
        """Parse an address like http://127.0.0.1:3000; ValueError says what is wrong with it.

        The files, for https:// only: `ca` has the authorities to trust instead of the system's, `certificate` is the
        client's own, with its key.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"only http:// and https:// addresses are supported, not {url!r}")
        if not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError(f"not the address of a server: {url!r}")
        prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            return cls(parts.hostname, parts.port or 443, prefix, _context(ca, certificate))
        if ca or certificate:
            raise ValueError("certificates are for https:// addresses")
        return cls(parts.hostname, parts.port or 80, prefix)


def _context(ca: str | None, certificate: str | None) -> ssl.SSLContext:
    file = ca
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            file = certificate
            # A key with a pass phrase is refused: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(certificate, password="")
    except OSError as error:
        raise ValueError(f"cannot use {file}: {error.strerror or error}") from error
    # A certificate may stand in the file itself, as that of somebody to trust.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def request_head(target: Target, route: str, headers: dict[str, str]) -> bytes:
    """Everything of a POST up to the value of Content-Length."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"POST {target.prefix}{route} HTTP/1.1", f"Host: {host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: bytes
    keep_alive: bool


class Head(NamedTuple):
    status: int
    length: int | None
    retry_after: str | None
    keep_alive: bool


@lru_cache(maxsize=512)
def parse_head(head: bytes) -> Head:
    """Status line and headers of an answer. Cached: within a second a server's heads are mostly the same bytes."""
    status_line, _, rest = head.partition(b"\r\n")
    version, _, status_text = status_line.partition(b" ")
    code = status_text[:3]
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise GarbledError(f"not an HTTP/1 answer: {status_line[:60]!r}")
    headers = {}
    for line in rest.split(b"\r\n") if rest else []:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    if b"transfer-encoding" in headers:
        raise GarbledError("the answer has a Transfer-Encoding, which this client does not support")
    length: int | None = None
    if b"content-length" in headers:
        if not headers[b"content-length"].isdigit():
            raise GarbledError("the answer's Content-Length is not a number")
        length = int(headers[b"content-length"])
    status = int(code)
    if status < 200 or status in (204, 304):
        length = 0
    connection = headers.get(b"connection", b"").lower()
    keep_alive = length is not None and connection != b"close"
    if version == b"HTTP/1.0":
        keep_alive = keep_alive and connection == b"keep-alive"
    retry_after = headers.get(b"retry-after")
    return Head(status, length, retry_after.decode("latin-1") if retry_after else None, keep_alive)


class AnswerReader:
    """Puts one answer together from the pieces in which it arrives."""

    __slots__ = ("_head", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        self._head: Head | None = None

    def feed(self, data: bytes) -> Answer | None:
        """The answer when it is complete; then ready for the next. Raises GarbledError."""
        data = self._pending + data if self._pending else data
        while self._head is None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise GarbledError("the answer's head is too long")
                self._pending = data
                return None
            head = parse_head(data[:end])
            data = data[end + 4 :]
            # 100 Continue and its like come before the answer.
            if head.status >= 200:
                self._head = head
        length = self._head.length
        if len(data) > (MAX_BODY_BYTES if length is None else length):
            raise GarbledError("more came back than one answer")
        if length is None or len(data) < length:
            self._pending = data
            return None
        return self._finish(data)

    def at_end(self) -> Answer | None:
        """The answer that the end of the connection completes: one without Content-Length, if its head is here."""
        if self._head is None or self._head.length is not None:
            return None
        return self._finish(self._pending)

    def _finish(self, body: bytes) -> Answer:
        head = self._head
        assert head is not None
        self._head = None
        self._pending = b""
        return Answer(head.status, head.retry_after, body, head.keep_alive)


class Connection(asyncio.Protocol):
    """One connection, from being opened until it breaks or is closed; never opened again."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._waiter: asyncio.Future[Answer] | None = None
        self._sent_at = 0.0

    @classmethod
    async def open(cls, target: Target, timeout_s: float) -> Connection:
        """Connect; raises NotSentError, of it NotTrustedError for the server's certificate."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(cls, target.host, target.port, ssl=target.tls)
        except ssl.SSLCertVerificationError as error:
            raise NotTrustedError(error.verify_message) from error
        except (OSError, TimeoutError) as error:
            raise NotSentError(str(error) or "timed out") from error
        return connection

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer; raises NotSentError or UnansweredError."""
        if self._transport is None or self._transport.is_closing():
            raise NotSentError("the connection has ended")
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._sent_at = monotonic()
        self._transport.write(request)
        try:
            return await waiter
        finally:
            self._waiter = None

    def expire(self, sent_before: float) -> None:
        """Break an exchange off that began before this time (of the monotonic clock)."""
        if self._waiter is not None and self._sent_at < sent_before:
            self._fail(UnansweredError("timed out"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            # Nobody asked. Whatever comes next on this connection could be taken for another request's answer.
            self.close()
            return
        try:
            answer = self._reader.feed(data)
        except GarbledError as error:
            self._fail(error)
            return
        if answer is not None:
            if not answer.keep_alive:
                self.close()
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiter is None or self._waiter.done():
            return
        answer = self._reader.at_end() if exc is None else None
        if answer is not None:
            self._waiter.set_result(answer)
        else:
            self._waiter.set_exception(UnansweredError(str(exc) if exc else "the server closed the connection"))

    def _fail(self, error: UnansweredError) -> None:
        self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
