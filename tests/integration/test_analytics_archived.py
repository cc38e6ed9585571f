"""A device's history where it is no longer whole in PostgreSQL, and where rollups stand for it: nobody notices."""

import itertools
import os
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hseie.analytics.buckets import Trust, untrusted
from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader
from hseie.analytics.service import Parts, build
from hseie.archive import Archive
from hseie.config import Config, Device, Retention
from hseie.database import connect
from hseie.maintenance.rollups import RollupDuty
from hseie.openapi import document
from hseie.readings import KINDS, METER, VEHICLE, Kind
from tests.described import check_described, closed

NOW = datetime(2026, 2, 9, 12, 30, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
TODAY = NOW.date()
REGISTERS = Device(energy_of={"REGISTER*": "register"})
DESCRIBED = closed(document(Config()))

Client = TestClient[web.Request, web.Application]
Row = tuple[datetime, int, Decimal]  # time, id, kWh


async def _nobody() -> dict[str, Any]:
    raise TimeoutError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(device=REGISTERS, retention=Retention(archive=str(tmp_path)))


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url, "tests", 10)
    for back, kind in itertools.product(range(7), KINDS):
        await connection.execute("SELECT hseie_make_partition($1, $2)", kind.name, TODAY - timedelta(days=back))
    yield connection
    await connection.close()


@pytest.fixture
async def client(database_url: str, config: Config) -> AsyncIterator[Client]:
    async for client in _client(database_url, config):
        yield client


async def _client(url: str, config: Config) -> AsyncIterator[Client]:
    reader, probe = await Reader.open(config, url, "tests", 1), await Reader.open(config, url, "tests", 1)
    app, _, _ = build(Parts(config, reader, probe, NodeView(_nobody), lambda: NOW, url))
    async with TestClient(TestServer(app)) as client:
        yield client
    await reader.close(1.0)
    await probe.close(1.0)


async def _get(client: Client, path: str) -> Any:
    async with client.get(f"/v1/analytics/history/{path}") as answer:
        body = await answer.json(content_type=None)
        check_described(DESCRIBED, "get", f"/v1/analytics/history/{path}", answer.status, answer.headers, body)
        assert answer.status == 200, body
        return body


async def _all(client: Client, path: str) -> list[dict[str, Any]]:
    """Follow the cursor to the end."""
    body = await _get(client, path)
    found: list[dict[str, Any]] = body["readings"]
    while body["next"] is not None:
        body = await _get(client, f"{path}&cursor={body['next']}")
        found += body["readings"]
    return found


async def _store(connection: Any, kind: Kind, device: str, rows: list[Row]) -> None:
    others = ", ".join(field.column for field in kind.measured)
    values = ", ".join(["$4::bigint % 50 + 1"] * len(kind.measured))
    await connection.executemany(
        f'INSERT INTO {kind.name}_history (id, "timestamp", {kind.id_column}, {kind.energy.column}, {others})'
        f" VALUES ($4, $1, $2, $3, {values})",
        [(at, device, kwh, number) for at, number, kwh in rows],
    )
    newest = max(at for at, _, _ in rows)
    await connection.execute(
        f"INSERT INTO {kind.name}_current ({', '.join(kind.columns)}) VALUES ($1, $2{', 1' * len(kind.fields)})"
        " ON CONFLICT DO NOTHING",
        device,
        newest,
    )


def _rows(seed: int, count: int, span: timedelta, corrections: int, *, rising: bool = False) -> list[Row]:
    """Readings up to now at odd times, some of them corrected, in the order of their ids."""
    chance = random.Random(seed)
    times = sorted({NOW - chance.random() * span for _ in range(count)})
    energies = sorted(Decimal(chance.randrange(100_000)).scaleb(-4) for _ in times)
    if not rising:
        chance.shuffle(energies)
    rows = [(at, number + 1, kwh) for number, (at, kwh) in enumerate(zip(times, energies, strict=True))]
    corrected = [(chance.choice(times), Decimal(chance.randrange(100_000)).scaleb(-4)) for _ in range(corrections)]
    return rows + [(at, len(rows) + 1 + number, kwh) for number, (at, kwh) in enumerate(corrected)]


class Archivist:
    """Puts days into files, as the archiver does."""

    def __init__(self, folder: Path, connection: Any) -> None:
        self._archive = Archive(folder, 128)
        if not self._archive.available and os.environ.get("CI") != "true":
            pytest.skip("DuckDB is not installed: the extra `archive`")
        assert self._archive.available
        self._connection = connection

    async def close(self) -> None:
        await self._archive.close()

    async def write(self, kind: Kind, day: date, *, drop: bool) -> None:
        """Make a file of a day's rows in history, and drop these, or leave them there too."""
        folder = self._archive.folder
        rows = await self._connection.fetch(
            f'SELECT id, created_at, "timestamp", {", ".join((kind.id_column, *(f.column for f in kind.fields)))}'
            f' FROM {kind.name}_history WHERE "timestamp" >= $1 AND "timestamp" < $2 ORDER BY 4, 3, 1',
            *_bounds(day),
        )
        if not rows:
            return
        part = 1 + await self._connection.fetchval(
            "SELECT count(*) FROM archive_part WHERE kind = $1 AND day = $2", kind.name, day
        )
        name = f"{kind.name}-{day}-{part}.parquet"
        lines = folder / "lines.txt"
        lines.write_text("".join("\t".join(str(value) for value in row.values()) + "\n" for row in rows))
        await self._archive.write(kind, lines, folder / name)
        if drop:
            await self._connection.execute(
                f'DELETE FROM {kind.name}_history WHERE "timestamp" >= $1 AND "timestamp" < $2', *_bounds(day)
            )
        await self._connection.execute(
            "INSERT INTO archive_part (kind, day, part, state, file, readings, booked)"
            " VALUES ($1, $2, $3, $4, $5, $6, 0)",
            kind.name, day, part, "archived" if drop else "written", name, len(rows),
        )  # fmt: skip


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + DAY


@pytest.fixture
async def archivist(tmp_path: Path, connection: Any) -> AsyncIterator[Archivist]:
    made = Archivist(tmp_path, connection)
    yield made
    await made.close()


async def _roll(connection: Any, config: Config, now: datetime = NOW) -> None:
    duty = RollupDuty(structlog.get_logger(), config)
    while await duty.work(connection, now) == 0:
        pass


RAW = [f"order={order}&limit={limit}" for order in ("asc", "desc") for limit in (1, 7, 1000)]


async def test_pages_are_the_same_wherever_readings_are(client: Client, connection: Any, archivist: Archivist) -> None:
    rows = _rows(1, 60, 5 * DAY, 15)
    await _store(connection, METER, "M", rows)
    await _store(connection, METER, "OTHER", _rows(2, 30, 5 * DAY, 0))
    before = {query: await _all(client, f"meter/M?{query}") for query in RAW}
    assert len(before[RAW[0]]) == len({at for at, _, _ in rows})
    for back, drop in ((4, True), (3, True), (2, False)):
        await archivist.write(METER, TODAY - timedelta(days=back), drop=drop)
    for query in RAW:
        assert await _all(client, f"meter/M?{query}") == before[query], query
    # A correction of an archived reading, and one of the day that is in both places.
    corrected = [next(at for at, _, _ in rows if at.date() == TODAY - timedelta(days=back)) for back in (3, 2)]
    await _store(connection, METER, "M", [(at, 1000 + n, Decimal("77.5")) for n, at in enumerate(corrected)])
    for query in RAW:
        readings = await _all(client, f"meter/M?{query}")
        changed = [new for new, old in zip(readings, before[query], strict=True) if new != old]
        assert [reading["kwhConsumedAc"] for reading in changed] == [77.5, 77.5], query
        assert [one["timestamp"] for one in readings] == [one["timestamp"] for one in before[query]]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_cursor_survives_that_its_day_is_archived(
    client: Client, connection: Any, archivist: Archivist, order: str
) -> None:
    await _store(connection, METER, "M", _rows(3, 50, 4 * DAY, 10))
    path = f"meter/M?order={order}&limit=5"
    whole = await _all(client, path)
    body = await _get(client, path)
    found = body["readings"]
    days = [TODAY - timedelta(days=back) for back in (1, 2, 3)]
    for day in days if order == "desc" else days[::-1]:
        body = await _get(client, f"{path}&cursor={body['next']}")
        found += body["readings"]
        await archivist.write(METER, day, drop=True)
    while body["next"] is not None:
        body = await _get(client, f"{path}&cursor={body['next']}")
        found += body["readings"]
    assert found == whole


async def test_corrections_of_one_reading_may_fill_more_than_a_page_of_the_archive(
    client: Client, connection: Any, archivist: Archivist, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = NOW - 2 * DAY
    taken: list[int] = []
    original = Archive.readings

    async def readings(archive: Archive, *asked: Any, **order: Any) -> Any:
        rows = await original(archive, *asked, **order)
        taken.append(len(rows))
        return rows

    monkeypatch.setattr(Archive, "readings", readings)
    await _store(connection, METER, "M", [(at, number, Decimal(number)) for number in range(1, 20)])
    await _store(connection, METER, "M", [(at + MINUTE, 20, Decimal(3)), (at - MINUTE, 21, Decimal(4))])
    await archivist.write(METER, at.date(), drop=True)
    for order, energies in (("asc", [4.0, 19.0, 3.0]), ("desc", [3.0, 19.0, 4.0])):
        readings = await _all(client, f"meter/M?order={order}&limit=1")
        assert [reading["kwhConsumedAc"] for reading in readings] == energies
    assert max(taken) <= 3, "one more than the page and the next, however many corrections there are"


async def test_a_file_that_is_missing_is_said_and_no_half_answer_given(
    client: Client, connection: Any, archivist: Archivist, tmp_path: Path
) -> None:
    await _store(connection, METER, "M", _rows(4, 50, 3 * DAY, 0))
    await archivist.write(METER, TODAY - timedelta(days=1), drop=True)
    for file in tmp_path.glob("*.parquet"):
        file.unlink()
    for query in ("limit=1000", "resolution=1h"):
        async with client.get(f"/v1/analytics/history/meter/M?{query}") as answer:
            body = await answer.json(content_type=None)
            assert (answer.status, body["code"]) == (503, "archive_unavailable")
            assert ".parquet is missing" in body["detail"]
            assert "Retry-After" in answer.headers
    async with client.get("/v1/analytics/history/meter/NOBODY") as answer:
        assert answer.status == 404, "for a device that is not there no file is looked at"
    today = f"meter/M?from={TODAY}T00:00:00Z"
    assert (await _get(client, today))["readings"], "what needs no file is answered"


BUCKETS = [
    f"resolution={resolution}&order={order}&limit={limit}&from=2026-02-03T11:00:00Z"
    for resolution, limits in (("15m", (400, 10_000)), ("1h", (9, 1000)), ("1d", (2, 100)))
    for limit in limits
    for order in ("asc", "desc")
]


@pytest.mark.parametrize("device", ["M", "REGISTER_1"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_buckets_are_the_same_from_readings_rollups_and_files(
    client: Client, connection: Any, archivist: Archivist, config: Config, kind: Kind, device: str
) -> None:
    register = device != "M"
    rows = _rows(5, 150, 6 * DAY, 0 if register else 20, rising=register)
    await _store(connection, kind, device, rows)
    before = {query: await _all(client, f"{kind.name}/{device}?{query}") for query in BUCKETS}
    total = sum(bucket[kind.energy.wire] for bucket in before[BUCKETS[0]])
    if register:  # less the first reading, which there was nothing to compare with, and what lies before the range
        assert 9 < total <= float(rows[-1][2])
    await _roll(connection, config)
    await _unchanged(client, f"{kind.name}/{device}", before)
    # Marks: rollups are wrong near them, and readings are read instead. Here they are made wrong.
    late = (NOW - 3 * DAY).replace(minute=0)
    await connection.execute(
        "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ($1, $2, $3), ($1, 'ELSE', $3 - interval '2 days'),"
        " ('pair', $2, $3 - interval '2 days')",
        kind.name, device, late,
    )  # fmt: skip
    energy = kind.energy.column
    if register:
        near = "bucket >= $1::timestamptz - interval '1 hour'"
    else:
        near = "bucket BETWEEN $1::timestamptz - interval '1 hour' AND $1::timestamptz + interval '1 hour'"
    await connection.execute(f"UPDATE {kind.name}_hour SET {energy} = 999 WHERE {near}", late)
    whole_day = "bucket >= date_trunc('day', $1::timestamptz)" + ("" if register else " AND bucket <= $1")
    await connection.execute(f"UPDATE {kind.name}_day SET {energy} = 999 WHERE {whole_day}", late)
    await _unchanged(client, f"{kind.name}/{device}", before)
    for back in (2, 3, 4, 5, 6):
        await archivist.write(kind, TODAY - timedelta(days=back), drop=back != 3)
    await _unchanged(client, f"{kind.name}/{device}", before)
    await connection.execute(f"UPDATE {kind.name}_hour SET {energy} = 999")
    wrong = await _all(client, f"{kind.name}/{device}?resolution=1h&from=2026-02-03T11:00:00Z&limit=1000")
    assert any(bucket[kind.energy.wire] == 999.0 for bucket in wrong), "where nothing waits, rollups are taken"


async def _unchanged(client: Client, path: str, before: dict[str, list[dict[str, Any]]]) -> None:
    for query, buckets in before.items():
        assert await _all(client, f"{path}?{query}") == buckets, query


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("device", ["M", "REGISTER_1"])
async def test_a_page_of_buckets_takes_a_bounded_number_of_archived_readings(
    client: Client, connection: Any, archivist: Archivist, monkeypatch: pytest.MonkeyPatch, order: str, device: str
) -> None:
    await _store(connection, METER, device, _rows(6, 200, 5 * DAY, 0, rising=device != "M"))
    paths = [f"meter/{device}?resolution={width}&order={order}&limit=500" for width in ("15m", "1h", "1d")]
    before = [await _all(client, path) for path in paths]
    for back in range(1, 6):
        await archivist.write(METER, TODAY - timedelta(days=back), drop=True)
    monkeypatch.setattr("hseie.analytics.buckets.ARCHIVED_MAX", 7)
    assert [await _all(client, path) for path in paths] == before
    assert len((await _get(client, paths[0]))["readings"]) < len(before[0])


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_bucket_takes_a_bounded_number_of_archived_readings(
    client: Client, connection: Any, archivist: Archivist, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    await _store(connection, METER, "M", _rows(6, 200, 5 * DAY, 0))
    path = f"meter/M?resolution=1d&order={order}&limit=500"
    before = await _all(client, path)
    most = max(bucket["readings"] for bucket in before)
    for back in range(1, 6):
        await archivist.write(METER, TODAY - timedelta(days=back), drop=True)
    monkeypatch.setattr("hseie.analytics.buckets.ARCHIVED_MAX", 7)
    monkeypatch.setattr("hseie.analytics.buckets.ARCHIVED_BUCKET_MAX", most)
    assert await _all(client, path) == before
    monkeypatch.setattr("hseie.analytics.buckets.ARCHIVED_BUCKET_MAX", 7)
    of_a_day = f"{path}&from={TODAY - 2 * DAY}T00:00:00Z&to={TODAY - DAY}T00:00:00Z"
    async with client.get(f"/v1/analytics/history/{of_a_day}") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "archive_unavailable")
    assert len(await _all(client, of_a_day.replace("1d", "15m"))) > 7, "finer ones can be had"


async def test_of_days_that_were_given_up_the_rollups_remain(client: Client, connection: Any, config: Config) -> None:
    rows = _rows(7, 100, 3 * DAY, 0)
    await _store(connection, VEHICLE, "V", rows)
    queries = [f"vehicle/V?resolution={width}&limit=1000" for width in ("1h", "1d")]
    before = [await _all(client, query) for query in queries]
    await _roll(connection, config)
    day = TODAY - timedelta(days=2)
    await connection.execute('DELETE FROM vehicle_history WHERE "timestamp" >= $1 AND "timestamp" < $2', *_bounds(day))
    await connection.execute(
        "INSERT INTO archive_part (kind, day, part, state, readings, booked)"
        " VALUES ('vehicle', $1, 1, 'dropped', 1, 1)",
        day,
    )
    # A reading that comes late for such a day cannot be added up with what is gone.
    await connection.execute(
        "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('vehicle', 'V', $1)", _bounds(day)[0]
    )
    assert [await _all(client, query) for query in queries] == before
    fine = await _all(client, "vehicle/V?resolution=15m&limit=1000")
    assert {bucket["timestamp"][:10] for bucket in fine} == {
        str(TODAY - timedelta(days=back)) for back in range(4)
    } - {str(day)}  # fmt: skip


async def test_history_of_a_device_that_sends_registers_from_now_on(
    database_url: str, connection: Any, config: Config
) -> None:
    """Rollups that were made with other settings are not read before they are made anew."""
    at = NOW.replace(minute=0) - 3 * HOUR
    await _store(connection, METER, "M", [(at, 1, Decimal(100)), (at + 30 * MINUTE, 2, Decimal(103))])
    await _roll(connection, config)
    changed = Config(device=Device(energy="register"), retention=config.retention)
    async for client in _client(database_url, changed):
        for resolution in ("15m", "1h", "1d"):
            buckets = await _all(client, f"meter/M?resolution={resolution}&limit=1000")
            assert sum(bucket["kwhConsumedAc"] for bucket in buckets) == 3.0, resolution


TRUST = Trust(NOW.replace(minute=0), None, (), frozenset(), False)
BEGIN = NOW.replace(hour=0, minute=0)


def test_which_rollups_may_be_taken() -> None:
    def hours(trust: Trust) -> list[int]:
        spans = untrusted(trust, BEGIN, BEGIN + 14 * HOUR, HOUR)
        return [hour for hour in range(14) if any(a <= BEGIN + hour * HOUR < b for a, b in spans)]

    assert hours(TRUST) == [12, 13]
    assert hours(replace(TRUST, until=None)) == list(range(14))
    assert hours(replace(TRUST, marks=(BEGIN + 5 * HOUR,))) == [4, 5, 6, 12, 13]
    assert hours(replace(TRUST, marks=(BEGIN + 5 * HOUR,), register=True)) == list(range(4, 14))
    assert hours(replace(TRUST, since=BEGIN + 2 * HOUR)) == [0, 1, 12, 13]
    assert hours(replace(TRUST, marks=(BEGIN + 5 * HOUR,), given_up=frozenset((BEGIN.date(),)))) == [12, 13]
    assert untrusted(TRUST, BEGIN - DAY, BEGIN + DAY, DAY) == [(BEGIN, BEGIN + DAY)]
    near_midnight = replace(TRUST, marks=(BEGIN,))
    assert untrusted(near_midnight, BEGIN - DAY, BEGIN, DAY) == [(BEGIN - DAY, BEGIN)]
    assert untrusted(replace(TRUST, marks=(BEGIN - 26 * HOUR,)), BEGIN - DAY, BEGIN, DAY) == []
    assert hours(replace(TRUST, made_as_now=False)) == list(range(14))
    assert hours(replace(TRUST, made_as_now=False, given_up=frozenset((BEGIN.date(),)))) == [12, 13]


class Counted(list[datetime]):
    """Marks that know how often they were gone through."""

    rounds = 0

    def __iter__(self) -> Iterator[datetime]:
        self.rounds += 1
        return super().__iter__()


@pytest.mark.parametrize("register", [False, True])
def test_marks_are_not_gone_through_for_each_bucket(register: bool) -> None:
    marks = Counted(BEGIN - number * HOUR for number in range(100))
    assert untrusted(replace(TRUST, marks=marks, register=register), BEGIN - 1000 * HOUR, BEGIN, HOUR)
    assert marks.rounds <= 2
