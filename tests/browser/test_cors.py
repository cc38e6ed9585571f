"""CORS in a browser: a page from elsewhere reads answers where its origin is configured, and nowhere else."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.browser.conftest import Sight
from tests.system.ledger import meter
from tests.system.node import Node, free_port

FRIEND, STRANGER = free_port(), free_port()
ENVIRON = {"HSEIE_HTTP__CORS_ORIGINS": f"http://127.0.0.1:{FRIEND}"}

CALL = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return [answer.status, await answer.json(), answer.headers.get("Preference-Applied")];
  } catch (error) {
    return [0, String(error), null];
  }
}"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,>")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def elsewhere() -> Iterator[None]:
    servers = [ThreadingHTTPServer(("127.0.0.1", port), _Page) for port in (FRIEND, STRANGER)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    for server in servers:
        server.shutdown()
        server.server_close()


def _sends(device: str) -> dict[str, Any]:
    return {
        "method": "POST",
        "body": json.dumps(meter(device)),
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer x", "Prefer": "wait"},
    }


async def test_a_configured_origin_reads_and_sends(sight: Sight, node: Node) -> None:
    await sight.page.goto(f"http://127.0.0.1:{FRIEND}/")
    for port in (node.port, node.port + 1):
        url = f"http://127.0.0.1:{port}/v1/ingest/meter/METER_1/current"
        status, body, _ = await sight.page.evaluate(CALL, [url, {"headers": {"Authorization": "Bearer x"}}])
        assert (status, body["meterId"]) == (200, "METER_1")
    status, body, applied = await sight.page.evaluate(CALL, [f"{node.url}/v1/ingest/meter", _sends("METER_FRIEND")])
    assert (status, body["meterId"], applied) == (201, "METER_FRIEND", "wait")


async def test_another_origin_reads_nothing_and_its_readings_are_not_sent(sight: Sight, node: Node) -> None:
    await sight.page.goto(f"http://127.0.0.1:{STRANGER}/")
    for port in (node.port, node.port + 1):
        url = f"http://127.0.0.1:{port}/v1/ingest/meter/METER_1/current"
        assert (await sight.page.evaluate(CALL, [url, {}]))[0] == 0
    assert (await sight.page.evaluate(CALL, [f"{node.url}/v1/ingest/meter", _sends("METER_STRANGER")]))[0] == 0
    assert node.get("/v1/ingest/meter/METER_STRANGER/current").status == 404
