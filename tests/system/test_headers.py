"""What browsers are told, on both ports of a real node: security headers, caching, CORS."""

import http.client
from collections.abc import Callable, Mapping

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import meter
from tests.system.node import Node

FRIEND, STRANGER = "https://fleet.example", "https://stranger.example"
PORTS = pytest.mark.parametrize("beside", [0, 1], ids=["acceptor", "analytics"])
PAGES = ["/", "/dashboard/dashboard.js", "/dashboard/uplot.css", "/api", "/api/start.js"]

Headers = Mapping[str, str]


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    environ = {"HSEIE_HTTP__CORS_ORIGINS": f"https://other.example,{FRIEND}"}
    node = module_stage.node(DATABASE_URL=new_database(), **environ).start()
    assert node.post("meter", meter("METER_1"), Prefer="wait").status == 201
    return node


@pytest.fixture(scope="module")
def closed_node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    """As it comes: no origin is admitted."""
    return module_stage.node("closed", DATABASE_URL=new_database()).start()


def ask(
    node: Node, beside: int, method: str, path: str, headers: Headers | None = None, body: bytes | None = None
) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", node.port + beside, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        if path != "/v1/live":
            answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


@PORTS
@pytest.mark.parametrize("path", PAGES)
def test_pages(node: Node, beside: int, path: str) -> None:
    status, headers = ask(node, beside, "GET", path)
    assert status == 200
    policy = headers.get_all("Content-Security-Policy") or []
    assert len(policy) == 1
    for part in ("default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy[0]
    assert ("'unsafe-inline'" in policy[0]) == path.startswith("/api")
    for name, value in (
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-cache"),
    ):
        assert headers.get_all(name) == [value], name
    assert "geolocation=()" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers  # there is no TLS
    status, again = ask(node, beside, "GET", path, {"If-None-Match": headers["ETag"]})
    assert (status, again["X-Frame-Options"]) == (304, "DENY")


@PORTS
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/ingest/meter/METER_1/current", 200),
        ("/v1/ingest/meter/NOBODY/current", 404),
        ("/v1/analytics/stats?wrong=1", 400),
        ("/v1/ingest/queue/stats", 200),
        ("/v1/live", 200),
        ("/readyz", 200),
        ("/metrics", 200),
    ],
)
def test_what_shows_data_is_kept_by_nobody(node: Node, beside: int, path: str, status: int) -> None:
    found, headers = ask(node, beside, "GET", path)
    assert (found, headers.get_all("Cache-Control")) == (status, ["no-store"])
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"]


@PORTS
@pytest.mark.parametrize("path", ["history/meter/METER_1", "stats", "alerts", "alerts?format=csv"])
def test_what_has_a_validator_is_kept_by_who_asked_and_asked_about_each_time(
    node: Node, beside: int, path: str
) -> None:
    found, headers = ask(node, beside, "GET", f"/v1/analytics/{path}")
    assert (found, headers.get_all("Cache-Control")) == (200, ["private, no-cache"])
    assert headers["ETag"].startswith('"')


@PORTS
@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/health"), ("GET", "/livez")])
def test_no_content_is_guessed_at(node: Node, beside: int, method: str, path: str) -> None:
    assert ask(node, beside, method, path)[1].get_all("X-Content-Type-Options") == ["nosniff"]


def test_nor_is_it_in_answers_to_readings(node: Node) -> None:
    assert node.post("meter", meter("METER_2")).headers["X-Content-Type-Options"] == "nosniff"
    assert node.post("meter", [{}]).headers["X-Content-Type-Options"] == "nosniff"


# --- CORS -------------------------------------------------------------------------------------------------------------


def of_cors(headers: http.client.HTTPMessage) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("Access-Control-")}


def preflight(origin: str, method: str) -> Headers:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }


@PORTS
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/ingest/meter"),
        ("POST", "/v1/ingest/vehicle"),
        ("GET", "/v1/analytics/stats"),
        ("GET", "/v1/live"),
        ("PUT", "/v1/pairs/V"),
        ("DELETE", "/v1/pairs/V"),
    ],
)
def test_the_question_before_a_request_is_answered(node: Node, beside: int, method: str, path: str) -> None:
    status, headers = ask(node, beside, "OPTIONS", path, preflight(FRIEND, method))
    assert status == 204
    assert headers.get_all("Access-Control-Allow-Origin") == [FRIEND]
    assert method in headers["Access-Control-Allow-Methods"].split(", ")
    allowed = headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "X-API-Key", "Prefer", "Content-Type"} <= set(allowed)
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in headers
    assert headers.get_all("Vary") == ["Origin"]
    status, headers = ask(node, beside, "OPTIONS", path, preflight(STRANGER, method))
    assert status in (404, 405)  # the port of analytics takes no readings
    assert (of_cors(headers), headers.get_all("Vary")) == ({}, ["Origin"])


@PORTS
@pytest.mark.parametrize("path", ["/v1/analytics/stats", "/v1/ingest/meter/NOBODY/current", "/nothing", "/v1/live"])
def test_answers_may_be_read_by_those_who_are_admitted(node: Node, beside: int, path: str) -> None:
    _, headers = ask(node, beside, "GET", path, {"Origin": FRIEND})
    assert headers.get_all("Access-Control-Allow-Origin") == [FRIEND]
    exposed = headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Retry-After", "Preference-Applied", "ETag"} <= set(exposed)
    for origin in (STRANGER, "null", f"{FRIEND}.evil.example", FRIEND.upper()):
        _, headers = ask(node, beside, "GET", path, {"Origin": origin})
        assert of_cors(headers) == {}
        assert headers.get_all("Vary") == ["Origin"]
    _, headers = ask(node, beside, "GET", path)
    assert (of_cors(headers), headers.get_all("Vary")) == ({}, ["Origin"])


@PORTS
def test_what_accept_and_origin_choose_says_both_once(node: Node, beside: int) -> None:
    for origin in ({"Origin": FRIEND}, {}):
        _, headers = ask(node, beside, "GET", "/v1/analytics/alerts", origin)
        assert headers.get_all("Vary") == ["Accept", "Origin"]
    _, headers = ask(node, beside, "GET", "/v1/analytics/alerts", {"Origin": FRIEND})
    assert {"Link", "Content-Disposition"} <= set(headers["Access-Control-Expose-Headers"].split(", "))


def test_answers_to_readings_may_be_read_too(node: Node) -> None:
    assert node.post("meter", meter("METER_3"), Origin=FRIEND).headers["Access-Control-Allow-Origin"] == FRIEND
    assert node.post("meter", [{}], Origin=FRIEND).headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Access-Control-Allow-Origin" not in node.post("meter", meter("METER_3"), Origin=STRANGER).headers


@PORTS
def test_by_default_there_is_no_cors(closed_node: Node, beside: int) -> None:
    for method, headers in (("GET", {"Origin": FRIEND}), ("OPTIONS", preflight(FRIEND, "GET"))):
        status, answered = ask(closed_node, beside, method, "/v1/analytics/stats", headers)
        assert (status, of_cors(answered), answered["Vary"]) == (200 if method == "GET" else 405, {}, None)
