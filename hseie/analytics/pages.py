"""`/`, `/api` and `/api/openapi.json`: the description of the interface, and Swagger UI from files that came along."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
from aiohttp import web

from hseie import openapi
from hseie.config import Config

_STATIC = Path(__file__).resolve().parent / "static"

# No inline scripts and nothing from elsewhere. Swagger UI styles its elements inline and draws icons as data: images.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

# Path to file and content type.
FILES = {
    "/api": ("api.html", "text/html"),
    "/api/start.js": ("api.js", "text/javascript"),
    "/api/swagger-ui-bundle.js": ("vendor/swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "/api/swagger-ui.css": ("vendor/swagger-ui/swagger-ui.css", "text/css"),
}

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page_routes(config: Config) -> dict[str, Route]:
    """Return the coroutine of each path. Everything is read once, here."""
    routes = {
        path: _fixed((_STATIC / name).read_bytes(), content_type, _POLICY)
        for path, (name, content_type) in FILES.items()
    }
    routes["/api/openapi.json"] = _fixed(orjson.dumps(openapi.document(config)), "application/json", None)
    routes["/"] = _to_api
    return routes


async def _to_api(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/api"})


def _fixed(body: bytes, content_type: str, policy: str | None) -> Route:
    tag = hashlib.sha256(body).hexdigest()[:32]
    # Kept by the browser, asked about each time: an update of HSEIE shows at once and an unchanged file is not sent.
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    charset = None if content_type == "application/json" else "utf-8"

    async def serve(request: web.Request) -> web.StreamResponse:
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers, content_type=content_type, charset=charset)

    return serve
