"""`/`: the dashboard; `/api`: the description of the interface, in Swagger UI. All from files that came along."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
from aiohttp import web

from hseie import openapi
from hseie.browsers import PAGE_HEADERS
from hseie.config import Config

_STATIC = Path(__file__).resolve().parent / "static"


def _policy(style: str, image: str) -> str:
    """Return a Content-Security-Policy: nothing from elsewhere, no inline scripts, nowhere in a frame."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src {style}",
            f"img-src {image}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


_STRICT = _policy("'self'", "data:")  # the image is the empty icon
# Swagger UI styles its elements inline and draws icons as data: images.
_SWAGGER = _policy("'self' 'unsafe-inline'", "'self' data:")

# Path to file, content type and policy.
FILES = {
    "/": ("dashboard.html", "text/html", _STRICT),
    "/dashboard/dashboard.js": ("dashboard.js", "text/javascript", _STRICT),
    "/dashboard/alerts.js": ("alerts.js", "text/javascript", _STRICT),
    "/dashboard/stream.js": ("stream.js", "text/javascript", _STRICT),
    "/dashboard/charts.js": ("charts.js", "text/javascript", _STRICT),
    "/dashboard/dashboard.css": ("dashboard.css", "text/css", _STRICT),
    "/dashboard/uplot.js": ("vendor/uplot/uPlot.iife.min.js", "text/javascript", _STRICT),
    "/dashboard/uplot.css": ("vendor/uplot/uPlot.min.css", "text/css", _STRICT),
    "/api": ("api.html", "text/html", _SWAGGER),
    "/api/start.js": ("api.js", "text/javascript", _SWAGGER),
    "/api/swagger-ui-bundle.js": ("vendor/swagger-ui/swagger-ui-bundle.js", "text/javascript", _SWAGGER),
    "/api/swagger-ui.css": ("vendor/swagger-ui/swagger-ui.css", "text/css", _SWAGGER),
}

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page_routes(config: Config) -> dict[str, Route]:
    """Return the coroutine of each path. Everything is read once, here."""
    routes = {
        path: _fixed((_STATIC / name).read_bytes(), content_type, policy)
        for path, (name, content_type, policy) in FILES.items()
    }
    routes["/api/openapi.json"] = _fixed(orjson.dumps(openapi.document(config)), "application/json", None)
    return routes


def _fixed(body: bytes, content_type: str, policy: str | None) -> Route:
    tag = hashlib.sha256(body).hexdigest()[:32]
    # Kept by the browser, asked about each time: an update of HSEIE shows at once and an unchanged file is not sent.
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if policy is not None:
        headers |= {**PAGE_HEADERS, "Content-Security-Policy": policy}
    charset = None if content_type == "application/json" else "utf-8"

    async def serve(request: web.Request) -> web.StreamResponse:
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers, content_type=content_type, charset=charset)

    return serve
