"""An acceptor's application over HTTP, with a real shard behind it, a stand-in for analytics, and no PostgreSQL."""

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hseie.acceptor.collector import WriterLink
from hseie.acceptor.proxy import AnalyticsProxy
from hseie.acceptor.routes import IngestRoutes, make_app
from hseie.bus import Dealer, ipc_endpoint
from hseie.config_load import load
from hseie.openapi import document
from hseie.ports import analytics_path
from tests.described import check_described, closed
from tests.integration.shard_entrance import MESSAGE_BYTES_MAX, Writer

JSON = {"Content-Type": "application/json"}


class Door:
    """An acceptor's application with one shard and a stand-in for analytics."""

    def __init__(self, run_dir: Path, **settings: str) -> None:
        self.config = load(None, {f"HSEIE_{key}": value for key, value in settings.items()}).config
        self.described = closed(document(self.config))
        self._run_dir = run_dir

        self.seen: list[tuple[str, bytes, str]] = []  # of what analytics got: method, body, its type

    async def open(self) -> "Door":
        self.writer = await Writer(self._run_dir).start()
        self.link = WriterLink(0, 8, 1 << 20, 30, shards=1)
        endpoint = ipc_endpoint(self._run_dir, "writer-0")
        self.dealer = Dealer(endpoint, self.link.on_message, message_bytes_max=MESSAGE_BYTES_MAX)
        self.link.send = self.dealer.send
        async with asyncio.timeout(10):
            while self.link.boot is None:
                self.link.sweep(0.0, 30)
                await asyncio.sleep(0.01)
        self.analytics = web.AppRunner(self._stand_in())
        await self.analytics.setup()
        await web.UnixSite(self.analytics, analytics_path(self._run_dir)).start()
        self.routes = IngestRoutes(self.config, [self.link])
        self.proxy = AnalyticsProxy(analytics_path(self._run_dir), self.config.http.body_timeout_s)
        server = TestServer(make_app(self.config, self.routes, self.proxy))
        await server.start_server(auto_decompress=False)  # as hseie/http_server.py has it
        self.client = TestClient(server)
        return self

    async def close(self) -> None:
        await self.client.close()
        await self.proxy.close()
        await self.analytics.cleanup()
        self.dealer.close()
        await self.writer.stop()

    async def post(self, body: Any, path: str = "/v1/ingest/meter", **headers: str) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(path, data=data, headers={**JSON, **named}) as answer:
            found = await answer.json(content_type=None)
            check_described(self.described, "post", path, answer.status, answer.headers, found)
            return answer.status, found, answer.headers

    def _stand_in(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.seen.append((request.method, await request.read(), request.headers.get("Content-Type", "")))
            return web.json_response(
                {"path": request.raw_path, "method": request.method}, headers={"X-From": "analytics"}
            )

        app = web.Application()
        app.router.add_route("*", r"/{path:[\s\S]*}", answer)
        return app
