"""Passes requests on to the analytics process, so that one port shows the whole API."""

from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from hseie.http_connection import CLIENT_NAME, client_name_header
from hseie.web import problem, say_farewell

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


class AnalyticsProxy:
    """A client of analytics. Requests without a body only; the answer is streamed."""

    def __init__(self, path: Path) -> None:
        """`path` is the Unix socket of analytics. To be made inside the running loop."""
        self.answers: dict[int, int] = {}  # what was passed back, by status
        self._session = _session(path, _CONNECTIONS_MAX)
        # Load balancers and Prometheus do not queue behind dashboards.
        self._health_session = _session(path, _HEALTH_CONNECTIONS_MAX)

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
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers |= client_name_header(request)
        response: web.StreamResponse | None = None
        session = self._health_session if request.path in _HEALTH_PATHS else self._session
        try:
            async with session.request(request.method, url, headers=headers, allow_redirects=False) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        response.headers.add(name, value)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                say_farewell(request, response)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError):
            if response is not None and response.prepared:
                raise ConnectionError("analytics went away in the middle of an answer") from None
            return problem("analytics_unavailable")

    async def close(self) -> None:
        await self._session.close()
        await self._health_session.close()


def _session(path: Path, connections_max: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(path), limit=connections_max),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S, connect=2.0),
        auto_decompress=False,
    )
