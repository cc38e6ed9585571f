"""Alerts and the fleet over rollups that are written by hand, so that it is plain what the answers have to be."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader
from hseie.analytics.rolled import Hours
from hseie.analytics.service import Parts, build
from hseie.config import Analytics, Config
from hseie.database import connect, statement
from hseie.openapi import document
from hseie.rollup_settings import settings_of
from tests.described import check_described, closed

NOW = datetime(2026, 2, 9, 12, 30, tzinfo=UTC)
ROLLED = NOW.replace(minute=0)
HOUR = timedelta(hours=1)
CONFIG = Config()
DESCRIBED = closed(document(CONFIG))
ALERTS = "/v1/analytics/alerts"
STATS = "/v1/analytics/stats"

Client = TestClient[web.Request, web.Application]


async def _nobody() -> dict[str, Any]:
    raise TimeoutError


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url, "tests", 10)
    for kind in ("meter", "vehicle"):
        await connection.execute("SELECT hseie_make_partition($1, $2)", kind, NOW.date())
    yield connection
    await connection.close()


@pytest.fixture
async def client(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr("hseie.analytics.kept.KEEP_MIN_S", 0.0)
    monkeypatch.setattr("hseie.analytics.kept.COST_FACTOR", 0.0)
    async for client in _client(database_url):
        yield client


async def _client(url: str, config: Config = CONFIG) -> AsyncIterator[Client]:
    reader, probe = await Reader.open(config, url, "tests", 2), await Reader.open(config, url, "tests", 1)
    app, _, _ = build(Parts(config, reader, probe, NodeView(_nobody), lambda: NOW, url))
    async with TestClient(TestServer(app)) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)


async def _get(client: Client, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        body = await answer.json(content_type=None)
        check_described(DESCRIBED, "get", path, answer.status, answer.headers, body)
        assert answer.status == status
        return body


async def _roll(connection: Any, until: datetime = ROLLED) -> None:
    await connection.execute(
        "UPDATE rollup_state SET closed_until = $1, rolled_until = $1, settings = $2", until, settings_of(CONFIG)
    )


async def _pair(
    connection: Any,
    at: datetime,
    number: int,
    ac: str,
    dc: str,
    *,
    correlated: int = 60,
    readings: int = 60,
    meter: str | None = None,
    table: str = "pair_hour",
) -> None:
    """A bucket of VEHICLE_<number>."""
    await connection.execute(
        f"INSERT INTO {table} VALUES ($1, $2, $3, $4, 60, $5, $6::text::numeric, $7::text::numeric, 0.5, 0.25, 1700)",
        f"VEHICLE_{number}",
        at,
        f"METER_{number}" if meter is None else meter,
        readings,
        correlated,
        ac,
        dc,
    )


async def test_the_worst_first_and_only_what_was_measured_well_enough(client: Client, connection: Any) -> None:
    await _roll(connection)
    at = ROLLED - HOUR
    await _pair(connection, at, 1, "10", "9")  # 90 %
    await _pair(connection, at, 2, "10", "8")
    await _pair(connection, at, 3, "10", "5")
    await _pair(connection, at, 4, "10", "1", correlated=29)  # below half of the readings: a gap is no loss
    await _pair(connection, at, 5, "10", "8.5")  # 85 %: not below
    await _pair(connection, at, 6, "10", "8.4995", readings=120)  # 84.995 %, which is 85.00; and exactly half
    await _pair(connection, at, 7, "10", "8.49", readings=120)
    await _pair(connection, at, 8, "0", "0", correlated=0, meter="")
    body = await _get(client, ALERTS)
    assert [(pair["vehicleId"], pair["efficiencyRatio"]) for pair in body["pairs"]] == [
        ("VEHICLE_3", 50.0), ("VEHICLE_2", 80.0), ("VEHICLE_7", 84.9),
    ]  # fmt: skip
    assert body["pairs"][0] == {
        "vehicleId": "VEHICLE_3", "meterId": "METER_3", "efficiencyRatio": 50.0, "totalEnergyConsumedAc": 10.0,
        "totalEnergyDeliveredDc": 5.0, "lost": 5.0, "correlated": 60, "share": 1.0,
    }  # fmt: skip
    assert (body["totalPairs"], body["source"], body["threshold"], body["period"]) == (3, "rollups", 85.0, "24h")
    assert (body["from"], body["to"]) == ("2026-02-08T12:00:00.000Z", "2026-02-09T12:00:00.000Z")
    assert (body["pending"], body["notes"]) == (0, [])
    body = await _get(client, f"{ALERTS}?limit=1&threshold=95.5")
    assert (body["totalPairs"], [pair["vehicleId"] for pair in body["pairs"]]) == (6, ["VEHICLE_3"])
    assert (await _get(client, f"{ALERTS}?threshold=0"))["totalPairs"] == 0


async def test_days_and_the_hours_around_them_are_added_up_once(client: Client, connection: Any) -> None:
    await _roll(connection)
    midnight = ROLLED.replace(hour=0)
    # A day's rollup says the same as its hours; here each says something of its own, to see which one was taken.
    for back, table, dc in ((1, "pair_day", "20"), (2, "pair_day", "3"), (3, "pair_day", "1")):
        await _pair(connection, midnight - timedelta(days=back), 1, "100", dc, table=table)
    await _pair(connection, midnight - timedelta(days=1, hours=-5), 1, "1000", "0")
    await _pair(connection, midnight - timedelta(days=2) - HOUR, 1, "50", "5")
    await _pair(connection, midnight + 11 * HOUR, 1, "50", "10")
    await _pair(connection, midnight + 12 * HOUR, 1, "1000", "0")  # not closed
    pair = (await _get(client, f"{ALERTS}?window=61h"))["pairs"][0]  # from 23:00, then two days, then to 12:00
    assert (pair["totalEnergyConsumedAc"], pair["totalEnergyDeliveredDc"]) == (300.0, 38.0)
    pair = (await _get(client, f"{ALERTS}?window=60h"))["pairs"][0]
    assert (pair["totalEnergyConsumedAc"], pair["totalEnergyDeliveredDc"]) == (250.0, 33.0)
    whole_days = f"{ALERTS}?from=2026-02-07T00:00:00Z&to=2026-02-09T00:00:00Z"
    assert (await _get(client, whole_days))["pairs"][0]["totalEnergyDeliveredDc"] == 23.0
    inside = await _get(client, f"{ALERTS}?from=2026-02-08T04:30:00Z&to=2026-02-08T05:01:00Z")
    assert (inside["from"], inside["to"]) == ("2026-02-08T04:00:00.000Z", "2026-02-08T06:00:00.000Z")
    assert inside["pairs"][0]["totalEnergyConsumedAc"] == 1000.0
    body = await _get(client, f"{STATS}?window=61h")
    assert (body["totalEnergyConsumedAc"], body["totalEnergyDeliveredDc"], body["efficiencyRatio"]) == (300, 38, 12.67)
    assert (body["energyPeriod"], body["energy"]["from"]) == ("61h", "2026-02-06T23:00:00.000Z")
    assert (body["alerts"], body["silentDevices"]) == (1, 0)
    assert body["energy"]["coverage"] == {
        "meterReadings": 240, "vehicleReadings": 240, "correlated": 240, "share": 1.0,
        "uncorrelatedAc": 2.0, "uncorrelatedDc": 1.0,
    }  # fmt: skip


async def test_a_vehicle_that_has_changed_its_meter_is_two_pairs(client: Client, connection: Any) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - 2 * HOUR, 1, "10", "9", meter="OLD")
    await _pair(connection, ROLLED - HOUR, 1, "10", "2", meter="NEW")
    body = await _get(client, ALERTS)
    assert [(pair["meterId"], pair["lost"]) for pair in body["pairs"]] == [("NEW", 8.0)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that readers have run."""
    asked: list[str] = []
    rows = Reader.rows

    async def counted(self: Reader, name: str, *values: Any, **more: Any) -> Any:
        asked.append(name)
        return await rows(self, name, *values, **more)

    monkeypatch.setattr(Reader, "rows", counted)
    return asked


async def test_any_threshold_is_answered_from_what_is_kept_and_right(
    client: Client, connection: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.analytics.alerts.LIMIT_MAX", 3)
    monkeypatch.setattr("hseie.analytics.alerts.LIMIT_DEFAULT", 3)
    await _roll(connection)
    for number, dc in enumerate(("1", "2", "3", "4", "4", "9", "100", "99.99", "250"), start=1):
        await _pair(connection, ROLLED - HOUR, number, "10", dc)
    for threshold, found in (
        (0, 0), (10, 0), (10.01, 1), (30, 2), (30.001, 3), (40, 3), (40.5, 5), (90, 5), (95, 6), (1000, 7),
    ):  # fmt: skip
        for limit in (1, 3):
            body = await _get(client, f"{ALERTS}?threshold={threshold}&limit={limit}")
            worst = [pair["vehicleId"] for pair in body["pairs"]]
            assert (body["totalPairs"], worst) == (found, [f"VEHICLE_{n}" for n in (1, 2, 3)][: min(found, limit)])
    assert asked.count("alerts_pairs") == 1
    assert (await _get(client, STATS))["alerts"] == 5
    assert asked.count("alerts_pairs") == 1, "it is the same window"
    assert (await _get(client, f"{ALERTS}?limit=4", 400))["code"] == "bad_parameter", "more than is kept"


async def test_the_fleet_is_told_of_also_where_too_many_wait_for_alerts(
    client: Client, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "5")
    monkeypatch.setattr("hseie.analytics.kept.WAITING_MAX", 0)
    assert (await _get(client, ALERTS, 503))["code"] == "overloaded"
    body = await _get(client, STATS)
    assert (body["alerts"], body["totalVehicles"]) == (None, 0)


async def test_what_is_kept_is_let_go_when_rollups_change_and_no_sooner(
    client: Client, connection: Any, asked: list[str]
) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "5")
    await _pair(connection, ROLLED - 2 * HOUR, 2, "10", "10")
    for _ in range(3):
        assert (await _get(client, ALERTS))["pairs"][0]["lost"] == 5.0
    assert asked.count("alerts_pairs") == 1
    # A mark alone changes no rollup. It is told of at once.
    await connection.execute(
        "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meter', 'M', $1)", ROLLED - HOUR
    )
    assert (await _get(client, ALERTS))["pending"] == 1
    assert asked.count("alerts_pairs") == 1
    async with connection.transaction():
        await connection.execute("DELETE FROM rollup_mark")
        await connection.execute("UPDATE pair_hour SET dc_kwh = 6 WHERE vehicle_id = 'VEHICLE_1'")
    body = await _get(client, ALERTS)
    assert (body["pairs"][0]["lost"], body["pending"]) == (4.0, 0)
    assert asked.count("alerts_pairs") == 2
    for change in ("DELETE FROM pair_hour WHERE vehicle_id = 'VEHICLE_1'", "TRUNCATE pair_day"):
        await connection.execute(change)
        assert (await _get(client, ALERTS))["pairs"] == []
    assert asked.count("alerts_pairs") == 4
    assert (await _get(client, f"{STATS}?window=24h"))["totalEnergyConsumedAc"] == 10.0
    await _get(client, f"{STATS}?window=24h")
    assert asked.count("fleet_rolled") == 1


async def test_marks_count_where_they_may_change_something(client: Client, connection: Any) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "9")
    for hours in (-3, -2, -1, 0, 1):  # of a range from -1 to 0 h
        await connection.execute(
            "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meter', 'M', $1)", ROLLED + hours * HOUR
        )
    assert (await _get(client, f"{ALERTS}?window=1h"))["pending"] == 3


async def test_a_vehicle_that_a_new_meter_feeds_waits_too(
    client: Client, connection: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new meter's readings come in time, so that nothing is marked; but rollups say that nobody fed the vehicle."""
    await _roll(connection)

    async def pending() -> tuple[int, int]:
        stats = await _get(client, f"{STATS}?window=24h")
        return (await _get(client, ALERTS))["pending"], stats["energy"]["pending"]

    for number in (1, 2, 3):
        await _pair(connection, ROLLED - HOUR, number, "10", "5", meter="")
        await connection.execute("INSERT INTO vehicle_current VALUES ($1, $2, 1, 1, 1)", f"VEHICLE_{number}", NOW)
        await connection.execute("INSERT INTO pair_by_id VALUES ($1, '')", f"VEHICLE_{number}")
    assert await pending() == (0, 0)
    assert await pending() == (0, 0)
    assert asked.count("pairing_otherwise") == 1, "nothing is new"
    await connection.execute("INSERT INTO meter_current VALUES ('METER_1', $1, 1, 1)", NOW)
    assert await pending() == (1, 1)
    await connection.execute(
        "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meter', 'M', $1)", ROLLED - HOUR
    )
    assert await pending() == (2, 2)
    assert (await _get(client, f"{ALERTS}?from=2026-02-01T00:00:00Z&to=2026-02-02T00:00:00Z"))["pending"] == 0
    await connection.execute("INSERT INTO vehicle_current VALUES ('VEHICLE_4', $1, 1, 1, 1)", NOW)
    assert await pending() == (2, 2), "it has no past"
    await _device(connection, "METER_4", 0, 60)
    assert await pending() == (3, 3), "its meter has one"
    monkeypatch.setattr("hseie.analytics.waiting.LOOKED_AT_MAX", 1)
    await connection.execute("INSERT INTO vehicle_current VALUES ('VEHICLE_5', $1, 1, 1, 1)", NOW)
    assert await pending() == (4, 4), "it is not looked at"
    await connection.execute(
        "INSERT INTO pair_by_id SELECT vehicle_id, '' FROM vehicle_current ON CONFLICT DO NOTHING;"
        " UPDATE pair_by_id SET meter_id = 'METER_' || right(vehicle_id, 1) WHERE right(vehicle_id, 1) IN ('1', '4')"
    )
    assert await pending() == (1, 1)
    await connection.execute("UPDATE rollup_state SET settings = 'others'")
    assert await pending() == (6, 6), "all vehicles"


async def _device(connection: Any, name: str, silent_s: float, *readings: int) -> None:
    """A meter that was heard of so long ago; `readings` of its closed hours, the latest first."""
    await connection.execute("INSERT INTO meter_current VALUES ($1, $2, 1, 1)", name, NOW - timedelta(seconds=silent_s))
    for back, count in enumerate(readings):
        await connection.execute(
            "INSERT INTO meter_hour VALUES ($1, $2, $3, 1, 1, 1, 1, 1, 1)", name, ROLLED - (back + 1) * HOUR, count
        )


async def test_silence_is_measured_in_a_devices_own_cadences(client: Client, connection: Any) -> None:
    await _roll(connection)
    await _device(connection, "MINUTELY", 181, 60)
    await _device(connection, "MINUTELY_NOT_YET", 179, 60)
    await _device(connection, "QUARTERLY", 2701, 4)
    await _device(connection, "QUARTERLY_NOT_YET", 2699, 4)
    await _device(connection, "FAST", 11, 3600)
    await _device(connection, "FAST_NOT_YET", 9, 3600)
    await _device(connection, "NEW", 181)
    await _device(connection, "NEW_NOT_YET", 179)
    await _device(connection, "STOPPED", 3300, 2, 60)  # in the hour of its stop it sent two
    await _device(connection, "AHEAD", -200, 60)
    await connection.execute("INSERT INTO vehicle_current VALUES ('GONE', $1, 1, 1, 1)", NOW - timedelta(days=3))
    body = await _get(client, ALERTS)
    assert [(device["deviceId"], device["cadence"], device["silentFor"]) for device in body["silent"]] == [
        ("GONE", 60.0, 259200.0),
        ("STOPPED", 60.0, 3300.0),
        ("QUARTERLY", 900.0, 2701.0),
        ("MINUTELY", 60.0, 181.0),
        ("NEW", 60.0, 181.0),
        ("FAST", 1.0, 11.0),
    ]
    assert body["silent"][0] == {
        "kind": "vehicle", "deviceId": "GONE", "lastReading": "2026-02-06T12:30:00.000Z", "cadence": 60.0,
        "silentFor": 259200.0,
    }  # fmt: skip
    body = await _get(client, f"{ALERTS}?limit=2")
    assert (body["totalSilent"], len(body["silent"])) == (6, 2)
    assert (await _get(client, STATS))["silentDevices"] == 6


async def test_all_devices_are_not_looked_at_for_every_question(
    database_url: str, connection: Any, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.analytics.kept.KEEP_MIN_S", 60.0)
    await _minute(connection, 1, "10", "5")
    async for client in _client(database_url):
        for _ in range(3):
            await _get(client, ALERTS)
            await _get(client, STATS)
    assert (asked.count("alerts_silent"), asked.count("fleet_oldest")) == (2, 2), "once for each kind"


async def _minute(connection: Any, number: int, ac: str, dc: str) -> None:
    at = NOW - timedelta(minutes=1)
    await connection.execute(
        'INSERT INTO meter_history ("timestamp", meter_id, kwh_consumed_ac, voltage)'
        " VALUES ($1, $2, $3::text::numeric, 1)",
        at, f"METER_{number}", ac,
    )  # fmt: skip
    await connection.execute(
        'INSERT INTO vehicle_history ("timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)'
        " VALUES ($1, $2, 1, $3::text::numeric, 1)",
        at, f"VEHICLE_{number}", dc,
    )  # fmt: skip
    await connection.execute("INSERT INTO meter_current VALUES ($1, $2, 1, 1)", f"METER_{number}", at)
    await connection.execute("INSERT INTO vehicle_current VALUES ($1, $2, 1, 1, 1)", f"VEHICLE_{number}", at)


async def test_a_fresh_node_judges_by_the_latest_minutes_and_says_so(
    client: Client, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _minute(connection, 1, "10", "5")
    await _minute(connection, 2, "10", "9")
    await _minute(connection, 3, "10", "2")
    body = await _get(client, ALERTS)
    assert [(pair["vehicleId"], pair["meterId"], pair["lost"]) for pair in body["pairs"]] == [
        ("VEHICLE_3", "METER_3", 8.0), ("VEHICLE_1", "METER_1", 5.0),
    ]  # fmt: skip
    assert (body["source"], body["to"], body["from"]) == ("raw", "2026-02-09T12:30:00.000Z", "2026-02-09T12:15:00.000Z")
    assert "judged are those of the latest minutes" in body["notes"][0]
    assert (await _get(client, STATS))["alerts"] == 2
    assert (await _get(client, f"{STATS}?window=1h"))["energy"] is None
    await _roll(connection)  # nothing was there yet when these hours were closed
    assert (await _get(client, ALERTS))["source"] == "raw"
    past = await _get(client, f"{ALERTS}?from=2026-02-01T00:00:00Z&to=2026-02-02T00:00:00Z")
    assert (past["source"], past["pairs"], past["from"]) == ("rollups", [], "2026-02-01T00:00:00.000Z")
    future = await _get(client, f"{ALERTS}?from=2026-02-09T12:01:00Z&to=2026-02-09T12:02:00Z")
    assert (future["source"], future["pairs"], future["from"]) == ("none", [], None)
    monkeypatch.setattr("hseie.analytics.alerts.RAW_VEHICLES_MAX", 2)
    body = await _get(client, ALERTS)
    assert (body["source"], body["pairs"], "more than 2 vehicles" in body["notes"][0]) == ("none", [], True)
    assert (await _get(client, STATS))["alerts"] is None


async def test_rollups_that_are_behind_say_so(client: Client, connection: Any) -> None:
    await _roll(connection, ROLLED - 2 * HOUR)
    await _pair(connection, ROLLED - 3 * HOUR, 1, "10", "9")
    body = await _get(client, ALERTS)
    assert (body["to"], "maintenance is behind" in body["notes"][0]) == ("2026-02-09T10:00:00.000Z", True)
    assert (await _get(client, f"{ALERTS}?from=2026-02-08T00:00:00Z&to=2026-02-09T10:00:00Z"))["notes"] == []


async def test_rollups_of_other_settings_do_not_pass_for_those_of_now(database_url: str, connection: Any) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "5")
    another = Config(analytics=Analytics(correlation_window_s=10))
    for config, others in ((CONFIG, False), (another, True)):
        async for client in _client(database_url, config):
            past = f"{ALERTS}?from=2026-02-09T10:00:00Z&to=2026-02-09T12:00:00Z"
            found = [await _get(client, path) for path in (ALERTS, past)]
            assert [body["pairs"][0]["lost"] for body in found] == [5.0, 5.0], "they are all there is"
            stats = await _get(client, f"{STATS}?window=24h")
            assert stats["alerts"] == (None if others else 1), "here no note says of what"
            found.append(stats["energy"])
            for body in found:
                assert len(body["notes"]) == int(others)
                assert all("made with other settings" in note for note in body["notes"])
    # Maintenance has begun: what is not made anew yet is no rollup of theirs, and the range says so.
    await connection.execute(
        "UPDATE rollup_state SET rolled_until = $1, settings = $2", ROLLED - 5 * HOUR, settings_of(another)
    )
    async for client in _client(database_url, another):
        body = await _get(client, ALERTS)
        assert (body["source"], body["pairs"]) == ("raw", [])
        await _pair(connection, ROLLED - 6 * HOUR, 1, "10", "6")
        body, energy = await _get(client, ALERTS), (await _get(client, f"{STATS}?window=24h"))["energy"]
        assert body["pairs"][0]["lost"] == 4.0
        for told in (body, energy):
            assert told["to"] == "2026-02-09T07:00:00.000Z"
            assert ["maintenance is behind" in note for note in told["notes"]] == [True]


async def test_where_the_latest_minutes_are_too_many_rows_the_latest_hour_answers(
    client: Client, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _minute(connection, 1, "10", "5")
    monkeypatch.setattr("hseie.analytics.fleet.VEHICLES_MAX", 0)
    body = await _get(client, STATS)
    assert (body["totalEnergyConsumedAc"], body["energy"], body["energyPeriod"]) == (None, None, "15m")
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "20", "15")
    body = await _get(client, STATS)
    assert (body["totalEnergyConsumedAc"], body["energyPeriod"]) == (20.0, "1h")


async def test_as_csv(client: Client, connection: Any) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "5")
    await _device(connection, "-QUIET", 3600)
    for path, headers in ((f"{ALERTS}?format=csv", {}), (ALERTS, {"Accept": "text/csv"})):
        async with client.get(path, headers=headers) as answer:
            assert (answer.content_type, answer.headers["Vary"]) == ("text/csv", "Accept")
            assert answer.headers["Content-Disposition"] == 'attachment; filename="alerts_pairs.csv"'
            assert await answer.text() == (
                "vehicleId,meterId,efficiencyRatio,totalEnergyConsumedAc,totalEnergyDeliveredDc,lost,correlated,share\r\n"
                "VEHICLE_1,METER_1,50.0,10.0,5.0,5.0,60,1.0\r\n"
            )
    async with client.get(f"{ALERTS}?format=csv&of=silent") as answer:
        rows = list(csv.DictReader(io.StringIO(await answer.text(), newline="")))
    assert rows == [
        {
            "kind": "meter", "deviceId": "-QUIET", "lastReading": "2026-02-09T11:30:00.000Z", "cadence": "60.0",
            "silentFor": "3600.0",
        }
    ]  # fmt: skip
    async with client.get(f"{ALERTS}?format=json", headers={"Accept": "text/csv"}) as answer:
        assert answer.content_type == "application/json"


@pytest.mark.parametrize("path", [ALERTS, f"{STATS}?window=1h", f"{ALERTS}?format=csv"])
async def test_who_has_the_answer_already_is_told_so(client: Client, connection: Any, path: str) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "5")
    async with client.get(path) as answer:
        tag = answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "private, no-cache"
    for method in ("GET", "HEAD"):
        async with client.request(method, path, headers={"If-None-Match": f'"other", {tag}'}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
            assert answer.headers["Cache-Control"] == "private, no-cache"
    await connection.execute("UPDATE pair_hour SET dc_kwh = 6")
    async with client.get(path, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] != tag


async def test_ten_thousand_pairs_are_read_by_range_and_not_one_by_one(connection: Any) -> None:
    """The plan: a range of each table by the index on buckets or in one go; no look into the primary key."""
    await connection.execute(
        "INSERT INTO pair_hour SELECT 'V' || v, $1::timestamptz + h * interval '1 hour', 'M', 60, 60, 60, 1, 1, 0, 0, 0"
        " FROM generate_series(0, 999) AS h, generate_series(1, 100) AS v ORDER BY h, v",
        ROLLED - 1000 * HOUR,
    )
    await connection.execute("VACUUM ANALYZE pair_hour")

    plan = await connection.fetch(
        f"EXPLAIN {statement('alerts_pairs')}", *Hours(ROLLED - 6 * HOUR, ROLLED).parts, 85, 0.5, 100
    )
    text = "\n".join(row[0] for row in plan)
    assert "pair_hour_bucket" in text
    assert "pair_hour_pkey" not in text


async def test_coverage_and_threshold_are_those_of_the_configuration(database_url: str, connection: Any) -> None:
    await _roll(connection)
    await _pair(connection, ROLLED - HOUR, 1, "10", "9", correlated=6)
    config = Config(analytics=Analytics(alert_efficiency_pct=95, alert_coverage_min=0.1, silent_cadences=1))
    async for client in _client(database_url, config):
        body = await _get(client, ALERTS)
        assert (body["totalPairs"], body["threshold"]) == (1, 95.0)


async def test_the_fleet_is_told_of_also_where_its_alerts_take_too_long(database_url: str, connection: Any) -> None:
    await _roll(connection)
    config = Config(analytics=Analytics(statement_timeout_ms=200))
    async for client in _client(database_url, config):
        async with connection.transaction():
            await connection.execute("LOCK TABLE pair_hour IN ACCESS EXCLUSIVE MODE")
            body = await _get(client, STATS)
            assert (body["alerts"], body["silentDevices"], body["totalVehicles"]) == (None, None, 0)
            assert (await _get(client, ALERTS, 503))["code"] == "database_unavailable"
        assert (await _get(client, STATS))["silentDevices"] == 0


async def test_the_fleet_is_told_of_also_where_its_oldest_reading_takes_too_long(
    database_url: str, connection: Any
) -> None:
    async for client in _client(database_url, Config(analytics=Analytics(statement_timeout_ms=200))):
        async with connection.transaction():
            await connection.execute("LOCK TABLE archive_part IN ACCESS EXCLUSIVE MODE")
            body = await _get(client, STATS)
        assert (body["oldestReading"], body["totalVehicles"]) == (None, 0)
