"""The routes of analytics over a real database, with a supervisor that is made up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from hseie.analytics import health
from hseie.analytics.node import NodeView
from hseie.analytics.pages import FILES
from hseie.analytics.reader import Reader
from hseie.analytics.receipts import ASKING_MAX
from hseie.analytics.service import Parts, build
from hseie.config import Config, Supervisor
from hseie.database import connect
from hseie.openapi import document
from hseie.route_table import ROUTES
from tests.described import check_described, closed

NOW = datetime(2026, 2, 9, 12, 0, 0, 1000, tzinfo=UTC)
CONFIG = Config(supervisor=Supervisor(heartbeat_ms=50))
DESCRIBED = closed(document(CONFIG))
JOURNAL = "8c7a4d5e-0000-4000-8000-000000000001"

Client = TestClient[web.Request, web.Application]


class FakeNode:
    """Two writers, an acceptor, and a switch for each thing that can go wrong."""

    def __init__(self) -> None:
        self.away = False
        self.writers: dict[int, dict[str, Any]] = {shard: self._stats(shard) for shard in range(2)}

    def _stats(self, shard: int) -> dict[str, Any]:
        kinds = {"meter": {"waiting": 5, "active": 2}, "vehicle": {"waiting": 1, "active": 0}}
        return {
            "shard": shard, "journal_seq": 200, "committed_seq": 100, "database": "ok", "journal": "ok", "kinds": kinds,
        }  # fmt: skip

    async def status(self) -> dict[str, Any]:
        if self.away:
            raise TimeoutError
        rows = [("acceptor-0", "acceptor", {}), *((f"writer-{n}", "writer", s) for n, s in self.writers.items())]
        return {
            "node": {"state": "ready", "version": "0", "pid": 1, "started_at": 0.0},
            "processes": [
                {"name": name, "role": role, "pid": 1, "state": "ready", "restarts": 0, "stats": stats}
                for name, role, stats in rows
            ],
        }


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr("hseie.analytics.node.KEEP_S", 0.0)
    monkeypatch.setattr("hseie.analytics.kept.KEEP_MIN_S", 0.0)
    monkeypatch.setattr("hseie.analytics.kept.COST_FACTOR", 0.0)
    monkeypatch.setattr(health, "KEEP_S", 0.0)
    return FakeNode()


async def _client(url: str, node: FakeNode, config: Config = CONFIG) -> AsyncIterator[Client]:
    reader, probe = await Reader.open(config, url, "tests", 2), await Reader.open(config, url, "tests", 1)
    app, _, _ = build(Parts(config, reader, probe, NodeView(node.status), lambda: NOW, url))
    async with TestClient(TestServer(app)) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)


@pytest.fixture
async def client(database_url: str, node: FakeNode) -> AsyncIterator[Client]:
    async for client in _client(database_url, node):
        yield client


@pytest.fixture
async def client_without_database(node: FakeNode) -> AsyncIterator[Client]:
    async for client in _client("postgresql://nobody@127.0.0.1:1/nothing", node):
        yield client


@pytest.fixture
async def golden(database_url: str) -> AsyncIterator[Any]:
    """The golden case, and the books and checkpoints of a shard; gives the connection."""
    connection = await connect(database_url, "tests", 10)
    for kind in ("meter", "vehicle"):
        for day in (8, 9):
            await connection.execute("SELECT hseie_make_partition($1, $2)", kind, datetime(2026, 2, day).date())
    readings = ((60, "10.5", "9.5", "28.0"), (30, "11.2", "9.5", "28.3"), (0, "10.5", "9.5", "28.5"))
    for minutes, ac, dc, temp in readings:
        at = NOW - timedelta(minutes=minutes, milliseconds=1)
        await connection.execute(
            'INSERT INTO meter_history ("timestamp", meter_id, kwh_consumed_ac, voltage)'
            " VALUES ($1, 'METER_001', $2::text::numeric, 230)",
            at,
            ac,
        )
        await connection.execute(
            'INSERT INTO vehicle_history ("timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)'
            " VALUES ($1, 'VEHICLE_001', 75.5, $2::text::numeric, $3::text::numeric)",
            at,
            dc,
            temp,
        )
    now = NOW - timedelta(milliseconds=1)
    await connection.execute("INSERT INTO meter_current VALUES ('METER_001', $1, 10.5, 230, $1)", now)
    await connection.execute("INSERT INTO vehicle_current VALUES ('VEHICLE_001', $1, 75.5, 9.5, 28.5, $1)", now)
    await connection.execute("INSERT INTO shard_checkpoint VALUES ($1, 0, 2, 1, gen_random_uuid(), 1, 100)", JOURNAL)
    await connection.execute("INSERT INTO shard_book VALUES ($1, 'meter', 10, 7, 2, 1)", JOURNAL)
    await connection.execute("INSERT INTO shard_book VALUES ($1, 'vehicle', 3, 3, 0, 0)", JOURNAL)
    yield connection
    await connection.close()


async def _get(client: Client, path: str) -> tuple[int, Any]:
    async with client.get(path) as answer:
        is_json = "json" in answer.content_type
        body = await (answer.json(content_type=None) if is_json else answer.text())
        check_described(DESCRIBED, "get", path, answer.status, answer.headers, body)
        return answer.status, body


async def test_the_golden_case(client: Client, golden: Any) -> None:
    status, body = await _get(client, "/v1/analytics/performance/VEHICLE_001")
    assert status == 200
    assert {name: body[name] for name in list(body)[:6]} == {
        "vehicleId": "VEHICLE_001",
        "period": "24h",
        "totalEnergyConsumedAc": 32.2,
        "totalEnergyDeliveredDc": 28.5,
        "efficiencyRatio": 88.51,
        "avgBatteryTemp": 28.27,
    }
    assert body["meterId"] == "METER_001"
    assert body["coverage"] == {
        "meterReadings": 3, "vehicleReadings": 3, "correlated": 3,
        "uncorrelatedAc": 0.0, "uncorrelatedDc": 0.0, "share": 1.0,
    }  # fmt: skip
    assert body["flags"] == []
    status, body = await _get(client, "/v1/analytics/performance/VEHICLE_001?window=45m")
    assert (status, body["totalEnergyConsumedAc"], body["period"]) == (200, 21.7, "45m")


async def test_the_golden_case_as_csv_and_known_already(client: Client, golden: Any) -> None:
    path = "/v1/analytics/performance/VEHICLE_001?from=2026-02-09T10:00:00Z&to=2026-02-09T12:30:00Z"
    async with client.get(f"{path}&format=csv") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="performance_VEHICLE_001.csv"'
        header, row, rest = (await answer.text()).split("\r\n")
    assert rest == ""
    assert dict(zip(header.split(","), row.split(","), strict=True)) == {
        "vehicleId": "VEHICLE_001", "period": "2026-02-09T10:00:00.000Z/2026-02-09T12:30:00.000Z",
        "totalEnergyConsumedAc": "32.2", "totalEnergyDeliveredDc": "28.5", "efficiencyRatio": "88.51",
        "avgBatteryTemp": "28.27", "from": "2026-02-09T10:00:00.000Z", "to": "2026-02-09T12:30:00.000Z",
        "meterId": "METER_001", "flags": "", "meterReadings": "3", "vehicleReadings": "3", "correlated": "3",
        "uncorrelatedAc": "0.0", "uncorrelatedDc": "0.0", "share": "1.0",
    }  # fmt: skip
    async with client.get(path) as answer:
        tag = answer.headers["ETag"]
    async with client.get(path, headers={"If-None-Match": tag}) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (304, "private, no-cache")
    await golden.execute(
        'INSERT INTO vehicle_history ("timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)'
        " VALUES ('2026-02-09T11:10:00Z', 'VEHICLE_001', 1, 1, 1)"
    )
    async with client.get(path, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


async def test_a_window_without_readings(client: Client, golden: Any) -> None:
    status, body = await _get(
        client, "/v1/analytics/performance/VEHICLE_001?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    )
    assert (status, body["efficiencyRatio"], body["avgBatteryTemp"]) == (200, None, None)
    assert body["flags"] == ["no_correlated_readings"]


async def test_current_states(client: Client, golden: Any) -> None:
    assert (await _get(client, "/v1/ingest/vehicle/VEHICLE_001/current"))[1] == {
        "vehicleId": "VEHICLE_001",
        "soc": 75.5,
        "kwhDeliveredDc": 9.5,
        "batteryTemp": 28.5,
        "timestamp": "2026-02-09T12:00:00.000Z",
        "updatedAt": "2026-02-09T12:00:00.000Z",
    }
    assert (await _get(client, "/v1/ingest/meter/METER_001/current"))[1]["kwhConsumedAc"] == 10.5


@pytest.mark.parametrize("device", ["NOBODY", "a%20b", "%00", "x" * 51, "%F0%9F%94%8B", "METER_001%0A"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/ingest/meter/{}/current",
        "/v1/ingest/vehicle/{}/current",
        "/v1/analytics/performance/{}",
        "/v1/analytics/history/meter/{}",
        "/v1/analytics/history/vehicle/{}?resolution=1h",
    ],
)
async def test_unknown_devices(client: Client, golden: Any, path: str, device: str) -> None:
    status, body = await _get(client, path.format(device))
    assert (status, body["code"]) == (404, "unknown_device")


async def test_queue_stats(client: Client, golden: Any, node: FakeNode) -> None:
    assert await _get(client, "/v1/ingest/queue/stats") == (
        200,
        {
            "meterQueue": {"waiting": 10, "active": 4, "completed": 9, "failed": 1},
            "vehicleQueue": {"waiting": 2, "active": 0, "completed": 3, "failed": 0},
        },
    )
    del node.writers[1]
    assert (await _get(client, "/v1/ingest/queue/stats"))[1]["missingShards"] == [1]
    node.away = True
    status, body = await _get(client, "/v1/ingest/queue/stats")
    assert (status, body["code"]) == (503, "not_ready")


@pytest.mark.parametrize(
    ("job", "state"),
    [
        ("0-1", "stored"),
        ("0-100", "stored"),
        ("0-101", "queued"),
        ("0-200", "queued"),
        ("1-101", "queued"),
        ("1-100", None),
        ("0-201", None),
        ("7-1", None),
        ("00-1", None),
        ("0-01", None),
        ("0", None),
        ("0-99999999999999999999", None),
        ("-1-5", None),
    ],
)
async def test_jobs(client: Client, golden: Any, job: str, state: str | None) -> None:
    status, body = await _get(client, f"/v1/ingest/jobs/{job}")
    if state is None:
        assert (status, body["code"]) == (404, "unknown_job")
    else:
        assert (status, body) == (200, {"jobId": job, "state": state})


async def test_jobs_of_earlier_journals_stay_stored(client: Client, golden: Any, node: FakeNode) -> None:
    node.writers[0]["committed_seq"] = 60
    await golden.execute("UPDATE shard_checkpoint SET last_seq = 40")
    await golden.execute("INSERT INTO shard_checkpoint VALUES (gen_random_uuid(), 0, 2, 1, gen_random_uuid(), 41, 60)")
    assert (await _get(client, "/v1/ingest/jobs/0-40"))[1]["state"] == "stored"
    assert (await _get(client, "/v1/ingest/jobs/0-60"))[1]["state"] == "stored"
    assert (await _get(client, "/v1/ingest/jobs/0-61"))[1]["state"] == "queued"
    await golden.execute("UPDATE shard_checkpoint SET last_seq = 30 WHERE last_seq = 40")
    assert (await _get(client, "/v1/ingest/jobs/0-35"))[0] == 404, "between the journals"


async def test_those_who_ask_for_receipts_that_nobody_knows_are_limited(client: Client, golden: Any) -> None:
    statuses = Counter(
        [
            status
            for status, _ in await asyncio.gather(
                *[_get(client, f"/v1/ingest/jobs/0-{1000 + number}") for number in range(ASKING_MAX + 10)]
            )
        ]
    )
    assert statuses == {404: ASKING_MAX, 503: 10}
    assert (await _get(client, "/v1/ingest/jobs/0-101"))[0] == 200  # room is given back


async def test_fleet(client: Client, golden: Any) -> None:
    status, body = await _get(client, "/v1/analytics/stats")
    assert status == 200
    assert (body["totalVehicles"], body["totalMeters"], body["totalReadings"]) == (1, 1, 10)
    assert (body["avgSoc"], body["avgBatteryTemp"]) == (75.5, 28.5)
    assert (body["oldestReading"], body["latestReading"]) == ("2026-02-09T11:00:00.000Z", "2026-02-09T12:00:00.000Z")
    assert (body["totalEnergyConsumedAc"], body["totalEnergyDeliveredDc"], body["energyPeriod"]) == (10.5, 9.5, "15m")
    assert body["ingestRate"] is None
    await golden.execute(
        'INSERT INTO meter_history ("timestamp", meter_id, kwh_consumed_ac, voltage)'
        " VALUES ('2026-02-08T00:00:00.5Z', 'METER_001', 1, 1), ('2026-02-08T10:00:00Z', 'METER_001', 1, 1)"
    )
    assert (await _get(client, "/v1/analytics/stats"))[1]["oldestReading"] == "2026-02-08T00:00:00.500Z"


async def test_an_empty_fleet(client: Client) -> None:
    status, body = await _get(client, "/v1/analytics/stats")
    assert (status, body["totalVehicles"], body["oldestReading"], body["efficiencyRatio"]) == (200, 0, None, None)


async def test_health(client: Client, node: FakeNode) -> None:
    status, body = await _get(client, "/health")
    assert (status, set(body), body["status"]) == (200, {"status", "timestamp", "service", "version"}, "ok")
    assert await _get(client, "/readyz") == (200, {"status": "ready", "checks": []})
    status, body = await _get(client, "/readyz?verbose")
    assert {check["name"] for check in body["checks"]} >= {"postgres", "writer-0", "journal-1", "acceptors"}
    node.writers[1]["journal"] = "slow"  # works, and not well
    assert (await _get(client, "/readyz"))[0] == 200
    assert (await _get(client, "/health"))[1]["status"] == "degraded"
    node.writers[1]["journal"] = "full"
    status, body = await _get(client, "/readyz")
    assert (status, body["code"], [check["name"] for check in body["checks"]]) == (503, "not_ready", ["journal-1"])
    assert (await _get(client, "/health"))[1]["status"] == "degraded"
    node.away = True
    assert (await _get(client, "/readyz"))[1]["checks"][0]["name"] == "supervisor"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/ingest/meter/M/current",
        "/v1/ingest/queue/stats",
        "/v1/ingest/jobs/0-1",
        "/v1/analytics/performance/V",
        "/v1/analytics/stats",
        "/v1/analytics/stats?window=24h",
        "/v1/analytics/alerts",
        "/v1/analytics/history/meter/M",
        "/v1/analytics/history/meter/M?resolution=1h",
    ],
)
async def test_without_the_database(client_without_database: Client, path: str) -> None:
    async with client_without_database.get(path) as answer:
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert (await answer.json(content_type=None))["code"] == "database_unavailable"


async def test_health_without_the_database(client_without_database: Client) -> None:
    assert (await _get(client_without_database, "/health"))[1]["status"] == "degraded"
    status, body = await _get(client_without_database, "/readyz")
    assert (status, body["checks"][0]["name"]) == (503, "postgres")
    async with client_without_database.get("/livez") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")


async def test_a_query_that_takes_too_long_is_answered_503(database_url: str, node: FakeNode, golden: Any) -> None:
    config = Config(analytics=type(CONFIG.analytics)(statement_timeout_ms=100))
    async for client in _client(database_url, node, config):
        async with golden.transaction():
            await golden.execute("LOCK TABLE vehicle_current IN ACCESS EXCLUSIVE MODE")
            status, body = await _get(client, "/v1/ingest/vehicle/VEHICLE_001/current")
        assert (status, body["code"]) == (503, "database_unavailable")
        assert (await _get(client, "/v1/ingest/vehicle/VEHICLE_001/current"))[0] == 200


async def test_no_route_can_write(client: Client, database_url: str) -> None:
    reader = await Reader.open(CONFIG, database_url, "tests", 1)
    with pytest.raises(Exception, match="read-only"):
        await reader.rows("make_partition", "meter", NOW.date())
    await reader.close(1.0)


@pytest.mark.parametrize(
    "path", ["/v1/analytics/performance/V", "/v1/analytics/history/meter/M", "/v1/analytics/stats"]
)
async def test_unknown_parameters(client: Client, path: str) -> None:
    status, body = await _get(client, f"{path}?nonsense=1")
    assert (status, body["code"], body["errors"][0]["pointer"]) == (400, "bad_parameter", "/nonsense")


async def test_pages(client: Client) -> None:
    async with client.get("/") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    async with client.get("/api") as answer:
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "swagger" in await answer.text()
    for path, content_type in (("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")):
        async with client.get(f"/api/{path}") as answer:
            assert (answer.status, answer.content_type) == (200, content_type)
            tag = answer.headers["ETag"]
        async with client.get(f"/api/{path}", headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
    async with client.get("/api/openapi.json") as answer:
        assert await answer.json() == document(CONFIG)


def _described(methods: Callable[[str], bool]) -> set[str]:
    return {route.path for route in ROUTES if route.served_by == "analytics" and methods(route.method)}


async def test_the_router_and_the_description_have_the_same_routes(client: Client) -> None:
    served = {route.resource.canonical for route in client.app.router.routes() if route.resource is not None}
    internal = set(FILES) - {"/", "/api"}
    assert served - internal == _described(lambda method: True)
    methods = {
        (route.method.lower(), route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in internal
    }
    assert methods == {(route.method, route.path) for route in ROUTES if route.served_by == "analytics"}


async def test_every_route_answers_as_it_is_described(client: Client, golden: Any) -> None:
    names = {"jobId": "0-1", "vehicleId": "VEHICLE_001"}
    for route in ROUTES:
        if (
            route.served_by == "analytics" and route.method == "get" and not route.events
        ):  # test_analytics_live.py looks at the stream
            device = "METER_001" if "/meter/" in route.path else "VEHICLE_001"
            status, _ = await _get(client, route.path.format(id=device, **names))
            assert status == 200, route.path


# Whatever stands in a query reaches PostgreSQL as what it has to be, or not at all.
WRONG_QUERIES = [
    ("limit=1_0", "/limit"),
    ("limit=%D9%A1", "/limit"),  # a digit, and not of ours
    ("limit=", "/limit"),
    ("limit=0", "/limit"),
    ("limit=10001", "/limit"),
    ("limit=1.0", "/limit"),
    ("limit=%2B1", "/limit"),
    ("limit=%201", "/limit"),
    ("limit=1%00", "/limit"),
    ("limit=99999999999999999999", "/limit"),
    ("limit=1&limit=1", "/limit"),
    ("limit", "/limit"),
    ("order=ASC", "/order"),
    ("order=%00", "/order"),
    ("resolution=2h", "/resolution"),
    ("resolution=", "/resolution"),
    ("from=", "/from"),
    ("from=now", "/from"),
    ("from=infinity", "/from"),
    ("from=2026-02-30T00:00:00Z", "/from"),
    ("from=2026-02-09", "/from"),
    ("from=2026-02-09T12:00:00", "/from"),
    ("from=1770638400", "/from"),
    ("from=9999-12-31T23:59:59-23:59", "/from"),
    ("from=0001-01-01T00:00:00%2B23:59", "/from"),
    ("from=2026-02-09T12:00:00Z%00", "/from"),
    ("from=%FF%FE", "/from"),
    ("from=2026-02-09T12:00:00Z&to=2026-02-09T12:00:00Z", "/from"),
    ("cursor=", "/cursor"),
    ("cursor=%00", "/cursor"),
    ("cursor=AAAAAAAAAAAAAAAA", "/cursor"),
    ("cursor=" + "A" * 4000, "/cursor"),
    ("%00=1", ""),
    ("=1", ""),
    ("Limit=1", "/Limit"),
    ("%F0%9F%94%8B=1", ""),
]


async def test_parameters_are_taken_strictly(client: Client, golden: Any) -> None:
    for query, pointer in WRONG_QUERIES:
        url = URL(f"/v1/analytics/history/meter/METER_001?{query}", encoded=True)
        async with client.get(url) as answer:
            body = await answer.json(content_type=None)
            check_described(DESCRIBED, "get", str(url), answer.status, answer.headers, body)
            assert (answer.status, body["code"]) == (400, "bad_parameter"), query
            assert [error.get("pointer", "") for error in body["errors"]] == [pointer], query


async def test_a_parameter_that_there_is_not_is_a_mistake(client: Client, golden: Any) -> None:
    v1 = ("ingest/meter/METER_001/current", "ingest/queue/stats", "ingest/jobs/0-1", "audit")
    for path in (*(f"/v1/{one}" for one in v1), "/readyz"):
        status, body = await _get(client, f"{path}?at=2026-02-09T12:00:00Z")
        assert (status, body["code"], body["errors"][0]["pointer"]) == (400, "bad_parameter", "/at"), path


async def test_probes_and_pages_take_any_query(client: Client) -> None:
    for path in ("/health", "/livez", "/metrics", "/api", "/api/openapi.json"):
        assert (await _get(client, f"{path}?x=1"))[0] == 200, path


async def test_every_path_says_which_methods_it_has(client: Client) -> None:
    for route in ROUTES:
        if route.served_by == "analytics":
            path = route.path.replace("{", "").replace("}", "")
            there = {one.method.upper() for one in ROUTES if one.path == route.path}
            allowed = ", ".join(sorted(there | ({"HEAD"} if "GET" in there else set())))
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} - there:
                async with client.request(method, path) as answer:
                    assert (answer.status, answer.headers["Allow"]) == (405, allowed), (method, path)
                    assert (await answer.json(content_type=None))["code"] == "method_not_allowed"


async def test_head_is_get_without_a_body(client: Client, golden: Any) -> None:
    state = "/v1/ingest/meter/{}/current"
    for path in (state.format("METER_001"), state.format("NOBODY"), "/livez", "/api/openapi.json"):
        async with client.get(path) as whole, client.head(path) as head:
            assert (head.status, head.content_type) == (whole.status, whole.content_type)
            assert head.headers["Content-Length"] == str(len(await whole.read()))
            assert await head.read() == b""


async def test_a_window_beyond_the_calendar_is_refused(client: Client, golden: Any) -> None:
    status, body = await _get(client, "/v1/analytics/performance/VEHICLE_001?window=999999d")
    assert (status, body["code"]) == (400, "bad_parameter")
