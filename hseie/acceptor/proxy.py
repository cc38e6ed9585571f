"""Passes requests on to the analytics process, so that one port shows the whole API."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from hseie.http_connection import CLIENT_NAME, client_name_header
from hseie.web import problem, read_small_body, say_farewell

# Headers that concern one connection only (RFC 9110, section 7.6.1), and the length, which is set anew.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "host",
        "accept-encoding",
        "date",
        "server",
        CLIENT_NAME.lower(),  # nobody but us says who a client is
    )
)
_ANSWER_TIMEOUT_S = 60.0
_CONNECTIONS_MAX = 64
_HEALTH_PATHS = frozenset(("/health", "/readyz", "/metrics"))
_HEALTH_CONNECTIONS_MAX = 8
_PAGE_CONNECTIONS_MAX = 16
_WRITE_TIMEOUT_S = 10.0
# Requests that change something, and may have a body.
_CHANGES = ("PUT", "DELETE")
_CHANGE_CONNECTIONS_MAX = 8
_STREAM_PATHS = frozenset(("/v1/live",))
# Together the acceptors may ask for more than analytics has room for; it is the one that says no.
_STREAMS_MAX = 100
_STREAM_SILENCE_MAX_S = 15.0


class AnalyticsProxy:
    """A client of analytics. A body is passed on with requests that change something only; the answer is streamed."""

    def __init__(self, path: Path, body_timeout_s: float) -> None:
        """`path` is the Unix socket of analytics. To be made inside the running loop."""
        self._body_timeout_s = body_timeout_s
        self.answers: dict[int, int] = {}  # what was passed back, by status
        self._session = _session(path, _CONNECTIONS_MAX)
        # Load balancers and Prometheus do not queue behind dashboards.
        self._health_session = _session(path, _HEALTH_CONNECTIONS_MAX)
        # Pages are large and open to all: who does not read them takes no connection from those who ask.
        self._page_session = _session(path, _PAGE_CONNECTIONS_MAX)
        # aiohttp sends again what it got no answer for, if that is idempotent by its method; what was ended would then
        # be answered as if it had not been there. On a connection each, since an old one may be found closed.
        self._change_session = _session(path, _CHANGE_CONNECTIONS_MAX, used_once=True)
        self._change_session._retry_connection = False
        # Answers without an end take no connection from those that have one, and no time-out but that of silence.
        self._stream_session = _session(path, _STREAMS_MAX, total_s=None, silence_s=_STREAM_SILENCE_MAX_S)
        self._streams: set[aiohttp.ClientResponse] = set()
        self._ended = False

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Answer with what analytics answers; 503 when it does not."""
        response = await self._ask(request)
        self.answers[response.status] = self.answers.get(response.status, 0) + 1
        return response

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        if "#" in request.raw_path:  # stands in no request, and could not be passed on
            return problem("not_found")
        # As it was sent: "/a/../b" must not become "/b" behind whoever looked at it here, nor "%3A" a colon.
        url = URL(f"http://analytics{request.rel_url.raw_path_qs}", encoded=True)
        headers = _end_to_end(request.headers)
        headers.update(client_name_header(request))
        body = None
        session = self._session_for(request.path)
        if request.method in _CHANGES:
            session = self._change_session
            body = await read_small_body(request, self._body_timeout_s)
            headers.popall("Expect", None)  # it has been met
            for coding in request.headers.getall("Content-Encoding", ()):
                headers.add("Content-Encoding", coding)
        response: web.StreamResponse | None = None
        try:
            async with session.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        response.headers.add(name, value)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                say_farewell(request, response)
                await response.prepare(request)
                if session is self._stream_session:
                    return await self._pass_stream(answer, response)
                async for piece in answer.content.iter_any():
                    # Who does not read holds one of few connections to analytics.
                    async with asyncio.timeout(_WRITE_TIMEOUT_S):
                        await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError):
            if response is not None and response.prepared:
                raise ConnectionError("analytics went away in the middle of an answer") from None
            return problem("analytics_unavailable")

    def _session_for(self, path: str) -> aiohttp.ClientSession:
        if path in _STREAM_PATHS:
            return self._stream_session
        if path == "/" or path.startswith("/api"):
            return self._page_session
        return self._health_session if path in _HEALTH_PATHS else self._session

    async def _pass_stream(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> web.StreamResponse:
        self._streams.add(answer)
        try:
            async for piece in answer.content.iter_any():
                await response.write(piece)
        except aiohttp.ClientError:
            if not self._ended:
                raise
        finally:
            self._streams.discard(answer)
        await response.write_eof()
        return response

    async def end_streams(self, app: web.Application) -> None:
        """End answers without an end; for `on_shutdown`, as the server would wait for them until its time-out."""
        self._ended = True
        for answer in self._streams:
            answer.close()

    async def close(self) -> None:
        await self._session.close()
        await self._page_session.close()
        await self._change_session.close()
        await self._stream_session.close()
        await self._health_session.close()


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the fields that are not about one connection only, each as often as it was sent."""
    named = ",".join(value for name, value in headers.items() if name.lower() == "connection").lower().split(",")
    not_passed_on = _HOP_BY_HOP.union(name.strip() for name in named)
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in not_passed_on)


def _session(
    path: Path,
    connections_max: int,
    total_s: float | None = _ANSWER_TIMEOUT_S,
    silence_s: float | None = None,
    *,
    used_once: bool = False,
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(path), limit=connections_max, force_close=used_once),
        timeout=aiohttp.ClientTimeout(total=total_s, sock_read=silence_s, connect=2.0),
        auto_decompress=False,
    )
