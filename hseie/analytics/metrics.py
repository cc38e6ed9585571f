"""`GET /metrics`: the whole node on one page. Of PostgreSQL it asks only whether it is there."""

from aiohttp import web

from hseie.analytics.exposition import page, sort_out
from hseie.analytics.health import HealthRoutes
from hseie.analytics.node import NodeView
from hseie.errors import NotReachableError


class MetricsRoute:
    """Shares the snapshot and the health checks with the routes beside it, so that asking often costs little."""

    def __init__(self, node: NodeView, health: HealthRoutes) -> None:
        self._node = node
        self._health = health

    async def metrics(self, request: web.Request) -> web.Response:
        checks = await self._health.checks()
        try:
            answer = (await self._node.snapshot()).answer
        except NotReachableError:
            answer = None  # that is a finding too, and the page says it
        body, content_type = page(sort_out(answer, checks), ",".join(request.headers.getall("Accept", ())))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
