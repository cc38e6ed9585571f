"""One HTTP connection, where aiohttp's own is not enough.

Its errors are answered in HSEIE's form; a head, and an answer that nobody reads, have a time; and who closes his side
after the last request still gets his answers.
"""

import asyncio
import socket
from collections import Counter
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, unquote

import structlog
from aiohttp import HttpVersion11, http_exceptions, web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from hseie.problems import ProblemAnswer, problem_answer
from hseie.tls import common_name
from hseie.web import problem

CLIENT_NAME = "X-HSEIE-Client-Name"
"""From one process of the node to another: the name in the certificate of the client that it asks for."""

_LOOK_AGAIN_S = 0.05

_log = structlog.get_logger("hseie.web")


class Connection(web.RequestHandler):
    """A connection of a client, from its first byte to its last answer.

    `common_name` is that of the client's certificate; None: it has shown none. `is_inside`: the client is another
    process of the node.
    """

    __slots__ = (
        *("_body", "_ended", "_head_since", "_made_at", "_stuck_since", "_unread", "_wire"),
        *("common_name", "is_inside"),
    )

    def __init__(self, server: web.Server, ended: Counter[str], **options: Any) -> None:
        """`ended` counts connections that are ended from here, by why; `options` are those of aiohttp.

        Raises TypeError for one that it does not know.
        """
        super().__init__(server, **options)
        self._ended = ended
        self._wire: asyncio.Transport | None = None  # aiohttp lets go of its own when it begins to close
        self._made_at = self._loop.time()
        self._head_since = 0.0  # when the head began that is not whole yet, on the loop's clock; 0: there is none
        self.common_name: str | None = None
        self.is_inside = False
        self._unread = 0  # bytes of answers, when that was last looked at and had changed, and when that was
        self._stuck_since = 0.0
        self._body: StreamReader = EMPTY_PAYLOAD  # of the request that was read last

    @property
    def is_idle(self) -> bool:
        """Whether all requests that were read are answered."""
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)
        self.common_name = common_name(transport.get_extra_info("peercert"))
        end = transport.get_extra_info("socket")
        self.is_inside = end is not None and end.family == socket.AF_UNIX

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Asked before: what comes may be the end of a body, after which no head has begun.
        between_requests = self._body.is_eof()
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._head_since = 0.0
            message, body = self._messages[-1]
            if type(message) is _ErrInfo and not self._body.is_eof():
                # aiohttp puts what is wrong behind the request whose body it is in, and lets that one wait for ever.
                self._body.set_exception(web.RequestPayloadError("broken framing"))
            self._body = body
        elif between_requests and not self._head_since and data.strip(b"\r\n"):  # empty lines: RFC 9112, section 2.2
            self._head_since = self._loop.time()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Tell whether to stay: as long as there is something to answer. A body that was cut off has a 400 to come."""
        # TLS has no half of a connection.
        if self.transport is None or self.transport.get_extra_info("sslcontext") is not None or self.is_idle:
            return False
        body = self._newest_body()
        if not body.is_eof():
            body.set_exception(web.RequestPayloadError("cut off"))
        self._loop.call_later(_LOOK_AGAIN_S, self._close_when_idle)
        return True

    def _newest_body(self) -> StreamReader:
        # aiohttp reads requests of its own accord too, after an upgrade that was declined.
        if self._messages:
            return self._messages[-1][1]
        return self._current_request.content if self._current_request is not None else self._body

    def _close_when_idle(self) -> None:
        # aiohttp cannot be told to close after the last of several answers: `close` drops those that wait.
        if self.transport is None:
            return
        if self.is_idle:
            self.force_close()
        else:
            self._loop.call_later(_LOOK_AGAIN_S, self._close_when_idle)

    def cut(self, now: float, head_timeout_s: float, answer_timeout_s: float) -> None:
        """Close it if its client takes too long: over its first byte, over a head, or over reading more of an answer.

        To be called now and then; `now` is on the loop's clock.
        """
        if self._wire is None:
            return
        unread = self._wire.get_write_buffer_size()
        if unread != self._unread:  # another answer, or some of it was read
            self._unread, self._stuck_since = unread, now
        if unread:  # also while it closes: that waits for the client
            if now - self._stuck_since > answer_timeout_s:
                self._ended["slow_reader"] += 1
                self._wire.abort()
        elif self.is_idle and self.transport is not None:
            self._cut_head(now, head_timeout_s)

    def _cut_head(self, now: float, head_timeout_s: float) -> None:
        if self._head_since:
            if now - self._head_since > head_timeout_s and self.transport is not None:
                self._ended["slow_head"] += 1
                self.transport.write(plain_answer(problem_answer("request_timeout")))
                self.force_close()
        elif self._request_count == 0 and now - self._made_at > head_timeout_s:
            self._ended["silent"] += 1
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request. The message is not repeated: it holds the sender's bytes.

        Raises ConnectionError when the client has gone, or an answer has been begun already.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if not isinstance(exc, http_exceptions.HttpProcessingError):  # bugs of routes end in web's safety net
            _log.error("request_failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun")
        request._version = HttpVersion11  # that of what could not be read is not known; aiohttp takes it for 1.0
        code = _problem_of(exc)
        self._ended[code] += 1
        response = problem(code)
        response.force_close()
        return response


def client_name(request: web.BaseRequest) -> str | None:
    """Return the name in the certificate of whoever asks, or for whom an acceptor asks; None: he has shown none."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return None
    if connection.is_inside:
        told = request.headers.get(CLIENT_NAME)
        return unquote(told) if told is not None else None
    return connection.common_name


def client_name_header(request: web.BaseRequest) -> dict[str, str]:
    """Return what tells another process of the node the name in the certificate of whoever asks."""
    name = client_name(request)
    return {CLIENT_NAME: quote(name)} if name is not None else {}


def _problem_of(exc: BaseException | None) -> str:
    if not isinstance(exc, http_exceptions.HttpProcessingError):
        return "internal"
    too_large = isinstance(exc, http_exceptions.LineTooLong) or "Too many headers" in str(exc)
    return "head_too_large" if too_large else "bad_request"


def plain_answer(answer: ProblemAnswer) -> bytes:
    """Return the bytes of an answer after which the connection is closed, for where there is no request."""
    status = HTTPStatus(answer.status)
    headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + answer.body
