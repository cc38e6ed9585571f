"""What an answer tells a browser besides its content: security headers, and which other origins may read it (CORS).

An origin is `scheme://host[:port]`, as browsers send it. Without configured origins nothing of CORS is installed.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

# A year. Sent over TLS only; elsewhere browsers ignore it, and people would believe in it.
HSTS = "max-age=31536000"

# Of a page and the files it is made of: nobody may frame it, learn its address or share a process with it.
PAGE_HEADERS: Mapping[str, str] = {
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_ALLOW_HEADERS = "Authorization, X-API-Key, Prefer, Content-Type, Content-Encoding, Accept, If-None-Match"
_EXPOSE_HEADERS = "Retry-After, Preference-Applied, ETag, Link, Content-Disposition"
# Two hours, the most that Chromium keeps; a page that sends readings is not to ask before each of them.
_PREFLIGHT_MAX_AGE_S = 7200
_METHODS = "GET, HEAD, POST, PUT, DELETE"

Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def harden(app: web.Application, *, hsts: bool) -> None:
    """Add to every answer of `app` what every answer carries."""

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        if hsts:
            headers["Strict-Transport-Security"] = HSTS

    app.on_response_prepare.append(prepare)


def admit_origins(app: web.Application, origins: Collection[str]) -> None:
    """Let pages of `origins` read the answers of `app`, and answer the questions browsers ask before a request."""
    if origins:
        allowed = frozenset(origins)
        app.on_response_prepare.append(_cors_headers(allowed))
        app.middlewares.append(_preflight(allowed))


def _cors_headers(allowed: frozenset[str]) -> Signal:
    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        if (
            "origin" not in ",".join(headers.getall("Vary", ())).lower()
        ):  # said already where an acceptor passes an answer on
            headers.add("Vary", "Origin")
        origin = request.headers.get("Origin", "")
        if origin in allowed:
            # Never with Allow-Credentials: who may ask is told by a key in a header, which no browser adds by itself.
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSE_HEADERS

    return prepare


def _preflight(allowed: frozenset[str]) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Before anybody asks for a key: browsers send none with this question.
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asks or request.headers.get("Origin", "") not in allowed:
            return await handler(request)
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _ALLOW_HEADERS,
                "Access-Control-Max-Age": str(_PREFLIGHT_MAX_AGE_S),
            },
        )

    return answer
