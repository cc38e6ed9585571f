"""History page by page, and what PostgreSQL reads for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader, TooManyQueriesError, session_settings
from hseie.analytics.service import Parts, build
from hseie.config import Config, Device
from hseie.database import connect, statement
from hseie.pairing import Segment, Window, meeting_arguments, pieces
from hseie.readings import METER, VEHICLE

NOW = datetime(2026, 2, 9, 12, tzinfo=UTC)
DAYS = [NOW.date() - timedelta(days=back) for back in range(5)]
CONFIG = Config()

Client = TestClient[web.Request, web.Application]


async def _nobody() -> dict[str, Any]:
    raise TimeoutError


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(
        database_url, "tests", 10, session_settings(CONFIG) | {"default_transaction_read_only": "off"}
    )
    for day in DAYS:
        for kind in ("meter", "vehicle"):
            await connection.execute("SELECT hseie_make_partition($1, $2)", kind, day)
    await connection.execute("INSERT INTO meter_current VALUES ('M', now(), 1, 1)")
    yield connection
    await connection.close()


@pytest.fixture
async def client(database_url: str, connection: Any) -> AsyncIterator[Client]:
    reader, probe = await Reader.open(CONFIG, database_url, "tests", 1), await Reader.open(CONFIG, database_url, "t", 1)
    app, _, _ = build(Parts(CONFIG, reader, probe, NodeView(_nobody), lambda: NOW, database_url))
    async with TestClient(TestServer(app)) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)


async def _store(connection: Any, *rows: tuple[float, str]) -> None:
    await connection.executemany(
        "INSERT INTO meter_history (\"timestamp\", meter_id, kwh_consumed_ac, voltage) VALUES ($1, 'M', $2, 230.5)",
        [(NOW - timedelta(minutes=minutes), Decimal(kwh)) for minutes, kwh in rows],
    )


async def _get(client: Client, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status
        return await answer.json(content_type=None)


async def _all(client: Client, path: str) -> list[list[dict[str, Any]]]:
    """Follow the Link header to the end."""
    pages = []
    following: str | None = path
    while following is not None:
        async with client.get(following) as answer:
            assert answer.status == 200
            body = await answer.json()
            pages.append(body["readings"])
            link = answer.links.get("next")
            assert (link is None) == (body["next"] is None)
            following = link["url"].path_qs if link is not None else None
    return pages


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 10, 11])
async def test_pages_hold_everything_once(client: Client, connection: Any, order: str, limit: int) -> None:
    minutes = [0, 1, 2, 500, 719, 720, 721, 3000, 3001, 5000]
    await _store(connection, *((at, "1.25") for at in minutes), (2, "7"), (720, "8"), (720, "9"))
    pages = await _all(client, f"/v1/analytics/history/meter/M?limit={limit}&order={order}")
    assert all(len(page) == limit for page in pages[:-1])
    seen = [reading for page in pages for reading in page]
    times = [(NOW - timedelta(minutes=at)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for at in minutes]
    assert [reading["timestamp"] for reading in seen] == (times if order == "desc" else times[::-1])
    corrected = {reading["timestamp"]: reading["kwhConsumedAc"] for reading in seen}
    assert (corrected[times[2]], corrected[times[5]], corrected[times[0]]) == (7.0, 9.0, 1.25)
    assert seen[0] | {"timestamp": "", "kwhConsumedAc": 0} == {
        "meterId": "M", "voltage": 230.5, "timestamp": "", "kwhConsumedAc": 0,
    }  # fmt: skip


async def test_inserts_between_pages_neither_repeat_nor_hide_anything(client: Client, connection: Any) -> None:
    await _store(connection, *((minute, "1") for minute in range(10)))
    path = "/v1/analytics/history/meter/M?limit=5"
    first = await _get(client, path)
    # Newer readings, a late one on the first page, and a correction of its last.
    await _store(connection, (-1, "1"), (2.5, "1"), (4, "9"))
    second = await _get(client, f"{path}&cursor={first['next']}")
    times = [reading["timestamp"] for reading in first["readings"] + second["readings"]]
    assert len(times) == len(set(times)) == 10
    assert times == sorted(times, reverse=True)
    assert second["next"] is None


async def test_bounds_are_half_open(client: Client, connection: Any) -> None:
    await _store(connection, *((minute, "1") for minute in (10, 20, 30)))
    body = await _get(client, "/v1/analytics/history/meter/M?from=2026-02-09T11:30:00Z&to=2026-02-09T11:50:00Z")
    assert [reading["timestamp"][11:16] for reading in body["readings"]] == ["11:40", "11:30"]


async def test_a_foreign_cursor_is_refused(client: Client, connection: Any) -> None:
    await _store(connection, (1, "1"), (2, "1"))
    cursor = (await _get(client, "/v1/analytics/history/meter/M?limit=1"))["next"]
    for path in ("meter/OTHER?limit=1", "vehicle/M?limit=1", "meter/M?order=asc"):
        body = await _get(client, f"/v1/analytics/history/{path}&cursor={cursor}", 400)
        assert body["errors"][0]["pointer"] == "/cursor"


async def test_buckets(client: Client, connection: Any) -> None:
    await _store(connection, (1, "1.5"), (59, "2"), (59, "3"), (61, "4"), (700, "5"))
    body = await _get(client, "/v1/analytics/history/meter/M?resolution=1h&limit=24")
    assert [
        (bucket["timestamp"][11:16], bucket["readings"], bucket["kwhConsumedAc"]) for bucket in body["readings"]
    ] == [
        ("11:00", 2, 4.5),
        ("10:00", 1, 4.0),
        ("00:00", 1, 5.0),
    ]
    assert body["readings"][0]["voltage"] == {
        "avg": 230.5, "min": 230.5, "max": 230.5, "first": 230.5, "last": 230.5,
    }  # fmt: skip
    path = "/v1/analytics/history/meter/M?resolution=1h&limit=5&from=2026-02-08T00:00:00Z&to=2026-02-09T12:00:00Z"
    for order in ("asc", "desc"):
        pages = await _all(client, f"{path}&order={order}")
        assert sum(bucket["kwhConsumedAc"] for page in pages for bucket in page) == 13.5
        assert len(pages) == 8


async def _text(client: Client, path: str, **headers: str) -> tuple[str, Any]:
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 200
        return await answer.text(), answer


async def test_csv_has_the_same_pages(client: Client, connection: Any) -> None:
    await _store(connection, (1, "1.5"), (59, "2"), (59, "3"), (61, "4"))
    path = "/v1/analytics/history/meter/M?format=csv&limit=2"
    text, answer = await _text(client, path)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="history_meter_M_raw.csv"'
    assert text == (
        "meterId,kwhConsumedAc,voltage,timestamp\r\n"
        "M,1.5,230.5,2026-02-09T11:59:00.000Z\r\n"
        "M,3.0,230.5,2026-02-09T11:01:00.000Z\r\n"
    )
    following = answer.links["next"]["url"].path_qs
    assert "format=csv" in following
    text, answer = await _text(client, following)
    assert text.splitlines()[1:] == ["M,4.0,230.5,2026-02-09T10:59:00.000Z"]
    assert "next" not in answer.links
    buckets, answer = await _text(
        client,
        "/v1/analytics/history/meter/M?resolution=1h&to=2026-02-09T12:00:00Z&limit=1",
        Accept="text/csv;q=0.9, */*;q=0.1",
    )
    assert answer.headers["Vary"] == "Accept"
    assert buckets == (
        "timestamp,readings,kwhConsumedAc,voltageAvg,voltageMin,voltageMax,voltageFirst,voltageLast\r\n"
        "2026-02-09T11:00:00.000Z,2,4.5,230.5,230.5,230.5,230.5,230.5\r\n"
    )
    empty, _ = await _text(client, "/v1/analytics/history/meter/M?format=csv&to=2026-02-07T00:00:00Z")
    assert empty == "meterId,kwhConsumedAc,voltage,timestamp\r\n"
    body = await _get(client, "/v1/analytics/history/meter/NOBODY?format=csv", 404)
    assert body["code"] == "unknown_device"


async def test_a_file_is_named_as_every_system_takes_it(client: Client, connection: Any) -> None:
    await connection.execute("INSERT INTO meter_current VALUES ('-A:B.c_1', now(), 1, 1)")
    _, answer = await _text(client, "/v1/analytics/history/meter/-A:B.c_1?format=csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="history_meter_-A_B.c_1_raw.csv"'


@pytest.mark.parametrize("resolution", ["raw", "1h"])
async def test_a_page_that_is_known_already_is_not_sent_again(client: Client, connection: Any, resolution: str) -> None:
    await _store(connection, (1, "1.5"), (2, "2"))
    path = f"/v1/analytics/history/meter/M?resolution={resolution}&from=2026-02-09T10:00:00Z&to=2026-02-09T12:00:00Z"
    _, answer = await _text(client, path)
    tag = answer.headers["ETag"]
    assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("private, no-cache", "Accept")
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        async with client.get(path, headers={"If-None-Match": known}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag), known
    async with client.head(path, headers={"If-None-Match": '"x"'}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (200, tag)
    _, answer = await _text(client, f"{path}&format=csv")
    assert answer.headers["ETag"] != tag
    await _store(connection, (1, "9"))
    async with client.get(path, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


async def _plan(connection: Any, sql: str, *values: Any) -> str:
    rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {sql}", *values)
    return "\n".join(row[0] for row in rows)


@pytest.fixture
async def filled(connection: Any) -> Any:
    for kind, columns, values in (
        ("meter", "kwh_consumed_ac, voltage", "1, 230"),
        ("vehicle", "soc, kwh_delivered_dc, battery_temp", "50, 1, 25"),
    ):
        await connection.execute(
            f'INSERT INTO {kind}_history ("timestamp", {kind}_id, {columns})'
            f" SELECT t, 'D' || d, {values} FROM generate_series(1, 100) AS d,"
            f" generate_series('{DAYS[-1]}'::timestamptz, '{NOW}'::timestamptz, '10 min') AS t"
        )
        await connection.execute(f"VACUUM ANALYZE {kind}_history")
    return connection


def _reads_two_days_from_the_index(plan: str, kind: str) -> None:
    assert "Seq Scan" not in plan
    assert f"Index Only Scan Backward using {kind}_history_2026_02_09" in plan
    assert f"{kind}_history_2026_02_08" in plan
    assert f"{kind}_history_2026_02_07" not in plan, "partitions are not pruned"
    assert "Bitmap" not in plan


async def test_a_page_reads_the_covering_index_of_its_days(filled: Any) -> None:
    for kind in (METER, VEHICLE):
        plan = await _plan(filled, statement("history_newest_first", kind), "D7", NOW - timedelta(days=1), NOW, 1001)
        _reads_two_days_from_the_index(plan, kind.name)


async def test_performance_reads_the_covering_index_of_its_days(filled: Any) -> None:
    start, end, margin = NOW - timedelta(days=1), NOW, timedelta(seconds=60)
    window = Window(start, end, margin / 2)
    plan = await _plan(
        filled,
        statement("performance_correlate"),
        *meeting_arguments(pieces([Segment("D7", "D7", start - margin, end + margin)], window), margin / 2, Device()),
        False,
    )
    _reads_two_days_from_the_index(plan, "meter")
    _reads_two_days_from_the_index(plan, "vehicle")


async def test_waiting_queries_are_bounded(database_url: str, connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.analytics.reader.WAITING_PER_CONNECTION", 2)
    reader = await Reader.open(CONFIG, database_url, "tests", 1)
    async with connection.transaction():
        await connection.execute("LOCK TABLE schema_migration IN ACCESS EXCLUSIVE MODE")
        running = [asyncio.create_task(reader.rows("health_ping")) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(TooManyQueriesError):
            await reader.rows("health_ping")
    await asyncio.gather(*running)
    await reader.close(1.0)
