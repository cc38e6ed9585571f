"""Plans of the real statements, on a history of several days: what they touch, and by which way.

A question about one device must cost the same however long the history is: only the partitions of the days asked for,
and in those the covering index alone. Generated values and the statements' own parameters, planned for the values at
hand as `hseie.analytics.reader` has it.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from bench.fleet_history import Fleet
from hseie import database
from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader, session_settings
from hseie.analytics.service import Parts, build
from hseie.config import Config, Device
from hseie.database import statement
from hseie.maintenance.rollups import RollupDuty
from hseie.maintenance.vacuum import VacuumDuty
from hseie.pairing import PLAIN, Segment, Window, meeting_arguments, pieces
from hseie.readings import KINDS, METER, VEHICLE, Kind
from hseie.resources import resource
from tests.conftest import database_at, execute

PAIRS = 20
DAYS = 4
START = datetime(2026, 2, 6, tzinfo=UTC)
END = START + timedelta(days=DAYS)
NOON = START + timedelta(days=2, hours=12)
DAY = timedelta(days=1)
TOLERANCE = timedelta(seconds=30)
INTERVALS, REGISTERS = Device(), Device(energy="register")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Plan:
    """What an executed statement did, from EXPLAIN (ANALYZE, FORMAT JSON)."""

    nodes: tuple[Mapping[str, Any], ...]

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """The nodes that read a partition."""
        return [node for node in self.nodes if "_history" in node.get("Relation Name", "")]

    @property
    def partitions(self) -> set[str]:
        return {node["Relation Name"] for node in self.history}

    @property
    def ways(self) -> set[str]:
        return {node["Node Type"] for node in self.history}

    @property
    def seq_scans(self) -> set[str]:
        """The tables that are read whole. (Rows that are to be written do not count.)"""
        return {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}

    @property
    def heap_fetches(self) -> int:
        return sum(node.get("Heap Fetches", 0) for node in self.history)

    def node_on(self, table: str) -> Mapping[str, Any]:
        return next(node for node in self.nodes if node.get("Relation Name") == table)


def texts_of(name: str) -> Iterator[str]:
    """The texts that a statement has, plain and of each kind."""
    yield statement(name)
    for kind in KINDS:
        with contextlib.suppress(IndexError, KeyError):  # braces of its own
            yield statement(name, kind)


async def _no_node() -> dict[str, Any]:
    raise TimeoutError


async def roll_up(connection: Any) -> None:
    """Roll up all hours there are, as the duty does."""
    duty = RollupDuty(structlog.get_logger(), Config())
    while await duty.work(connection, END + HOUR) == 0.0:
        pass


def nodes_of(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes_of(child)


def days(kind: str, *offsets: int) -> set[str]:
    return {f"{kind}_history_{START + timedelta(days=offset):%Y_%m_%d}" for offset in offsets}


class Database:
    """A filled database and a session as the reader's, for tests that are no coroutines; `before` it was vacuumed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runner = asyncio.Runner()
        self.runner.run(Fleet(url, PAIRS).prepare())
        self.runner.run(Fleet(url, PAIRS).fill(START, END, say=lambda _: None))
        # So many devices that nobody reads all of them to find one.
        for kind in KINDS:
            self.execute(
                f"INSERT INTO {kind.name}_current SELECT 'other' || n, now(), {', '.join('1' for _ in kind.fields)}"
                f" FROM generate_series(1, 5000) AS n; ANALYZE {kind.name}_current"
            )
        self.runner.run(database.with_connection(url, "tests", roll_up))
        # As after weeks: so many hours that nobody reads all of them to find one device's.
        for table, id_column in {
            "meter_hour": "meter_id",
            "vehicle_hour": "vehicle_id",
            "pair_hour": "vehicle_id",
        }.items():
            self.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(hour) ||"
                f" jsonb_build_object('{id_column}', 'other' || n, 'bucket', another))).*"
                f" FROM (SELECT * FROM {table} LIMIT 1) AS hour, generate_series(1, 40) AS n,"
                f" generate_series('{START}'::timestamptz, '{START + 40 * DAY}', interval '1 hour') AS another"
                " ORDER BY another"
            )
            self.execute(f"VACUUM ANALYZE {table}")
        self.session = self.runner.run(database.connect(url, "tests", 10, session_settings(Config())))
        self.before = self.plan("history_buckets", *hours(METER, START, START + DAY), MINUTE, kind=METER)

    def asked(self, path: str) -> dict[str, Plan]:
        """Ask a route, and return the plans of all that it asked of the database, by the statements' names."""
        names = {
            text: file.stem for file in (resource("sql") / "queries").glob("*.sql") for text in texts_of(file.stem)
        }
        sent = self.runner.run(self._sent(path))
        return {names[text]: self.runner.run(self._explain(text, values)) for text, values in sent if text in names}

    async def _sent(self, path: str) -> list[tuple[str, tuple[Any, ...]]]:
        sent: list[tuple[str, tuple[Any, ...]]] = []

        async def fetch(connection: Any, text: str, *values: Any, **options: Any) -> Any:
            sent.append((text, values))
            return await original(connection, text, *values, **options)

        original = database.Connection.fetch
        reader = await Reader.open(Config(), self.url, "tests", 1)
        view = NodeView(_no_node)
        app, *_ = build(Parts(Config(), reader, reader, view, lambda: END, self.url))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database.Connection, "fetch", fetch)
            async with TestClient(TestServer(app)) as client, client.get(path) as answer:
                assert answer.status == 200, await answer.text()
        await reader.close(1.0)
        return sent

    def close(self) -> None:
        self.runner.run(database.close(self.session))
        self.runner.close()

    def execute(self, sql: str) -> None:
        self.runner.run(execute(self.url, sql))

    def vacuum(self, now: datetime = END + DAY) -> None:
        async def work(connection: Any) -> None:
            await VacuumDuty(structlog.get_logger(), Config()).work(connection, now)

        self.runner.run(database.with_connection(self.url, "tests", work))

    def plan(self, name: str, *values: Any, kind: Kind | None = None, run: bool = True) -> Plan:
        """The plan of a statement, which is run for it unless it writes."""
        return self.runner.run(self._explain(statement(name, kind), values, run))

    async def _explain(self, sql: str, values: tuple[Any, ...], run: bool = True) -> Plan:
        options = "ANALYZE, TIMING OFF, FORMAT JSON" if run else "FORMAT JSON"
        text = await self.session.fetchval(f"EXPLAIN ({options}) {sql}", *values)
        return Plan(tuple(nodes_of(json.loads(text)[0]["Plan"])))


@pytest.fixture(scope="module")
def vacuumed(postgres_server_url: str, template_database: str) -> Iterator[Database]:
    name = f"hseie_test_{uuid4().hex}"
    asyncio.run(execute(postgres_server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"'))
    found = Database(database_at(postgres_server_url, name))
    found.vacuum()
    yield found
    found.close()
    asyncio.run(execute(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def meeting(start: datetime, end: datetime, config: Device = INTERVALS) -> list[Any]:
    """The parameters of parts/meeting.sql for one pair and a window."""
    always = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    counted = pieces([Segment("VEHICLE_007", "METER_007", *always)], Window(start, end, TOLERANCE))
    return meeting_arguments(counted, TOLERANCE, config)


def at_once(start: datetime, end: datetime) -> list[Any]:
    """The parameters of performance_at_once for one pair whose window is read, not rolled up."""
    known = ["VEHICLE_007", ["METER_007"], start - DAY, end + DAY]
    return [*meeting(start, end)[:PLAIN], *known, *([] for _ in range(8))]


def hours(kind: Kind, start: datetime, end: datetime, register: bool = False) -> list[Any]:
    """The parameters of parts/effective.sql for one device and whole hours."""
    nothing: list[list[Any]] = [[] for _ in range(3 + len(kind.fields))]
    return [[device(kind)], [start], [end], [register], start, end, 1000.0, *nothing]


def device(kind: Kind) -> str:
    return f"{kind.name.upper()}_007"


# A statement, its kind, its parameters, and the days it may touch (offsets from START).
ONE_DEVICE: list[tuple[str, Kind | None, tuple[Any, ...], set[str]]] = [
    ("performance_correlate", None, (*meeting(NOON - DAY, NOON), False), days("meter", 1, 2) | days("vehicle", 1, 2)),
    ("performance_at_once", None, at_once(NOON - DAY, NOON), days("meter", 1, 2) | days("vehicle", 1, 2)),
    ("performance_correlate", None, (*meeting(NOON, NOON + MINUTE), True), days("meter", 2) | days("vehicle", 2)),
    *(
        ("register_before", kind, ([device(kind)], [NOON], NOON - 2 * DAY, NOON), days(kind.name, 0, 1, 2))
        for kind in KINDS
    ),
    *(
        ("rollup_register_next", kind, ([device(kind)], [NOON], NOON + HOUR, NOON + DAY), days(kind.name, 2, 3))
        for kind in KINDS
    ),
    *(
        (name, kind, (device(kind), NOON - DAY, NOON, *more), days(kind.name, 1, 2))
        for kind in KINDS
        for name, more in {
            "history_newest_first": (1001,),
            "history_oldest_first": (1001,),
        }.items()
    ),
    *(
        ("history_buckets", kind, (*hours(kind, NOON - DAY, NOON), 15 * MINUTE), days(kind.name, 1, 2))
        for kind in KINDS
    ),
]

# Write, so they are planned and not run.
OF_ROLLUPS: list[tuple[str, Kind | None, tuple[Any, ...], set[str]]] = [
    *(
        (name, kind, tuple(hours(kind, NOON, NOON + HOUR, register)), days(kind.name, 2))
        for kind in KINDS
        for name, register in (("rollup_hours", False), ("rollup_hours", True), ("rollup_events", True))
    ),
    (
        "rollup_pair_hours",
        None,
        (*meeting(NOON, NOON + HOUR), ["VEHICLE_007"], [NOON], [NOON + HOUR]),
        days("meter", 2) | days("vehicle", 2),
    ),
]

# Reads every row, and is meant to.
READS_ALL = {"audit_history", "archive_count", "archive_export", "archive_in_history"}
# Asked of the whole fleet: steps through the index, from device to device.
OF_THE_FLEET = {
    "audit_current",
    "audit_devices",
    "fleet_any_reading",
    "fleet_oldest",
    "rollup_any_reading",
    "archive_any",
}
# Looks up each device of a day that is given up.
OF_A_DAY = {"given_up_keep"}
# Ask the catalog, not the rows.
OF_THE_CATALOG = {"rollup_raw_days", "vacuum_due", "pair_mark", "audit_hold"}


def test_history_without_vacuum_is_looked_up_in_the_heap(vacuumed: Database) -> None:
    # What the duty is for; and the figure is one that can be other than 0.
    assert vacuumed.before.ways == {"Index Only Scan"}
    assert vacuumed.before.heap_fetches > 1000


def as_id(value: Any) -> str:
    """The same in every process: sets have no order."""
    return value.name if isinstance(value, Kind) else str(sorted(value) if isinstance(value, set) else value)[:30]


@pytest.mark.parametrize(("name", "kind", "values", "touched"), ONE_DEVICE, ids=as_id)
def test_one_device_is_read_from_the_index_of_its_days(
    vacuumed: Database, name: str, kind: Kind | None, values: tuple[Any, ...], touched: set[str]
) -> None:
    plan = vacuumed.plan(name, *values, kind=kind)
    assert plan.partitions == touched
    assert len(plan.history) == len(touched)  # each is read once: what is for registers and archived days is not there
    assert plan.ways == {"Index Only Scan"}
    assert plan.heap_fetches == 0


def test_a_plan_that_is_kept_leaves_out_other_days_when_it_starts(vacuumed: Database) -> None:
    values = at_once(NOON, NOON + MINUTE)
    vacuumed.runner.run(vacuumed.session.execute("SET plan_cache_mode = force_generic_plan"))
    try:
        plan = vacuumed.plan("performance_at_once", *values)
    finally:
        vacuumed.runner.run(vacuumed.session.execute("SET plan_cache_mode = force_custom_plan"))
    assert plan.partitions == days("meter", 2) | days("vehicle", 2)
    assert plan.ways == {"Index Only Scan"}


WINDOW = f"from={NOON - DAY + 17 * MINUTE:%Y-%m-%dT%H:%M:%SZ}&to={NOON - 7 * MINUTE:%Y-%m-%dT%H:%M:%SZ}"
# Few rows in life, none here: it is no use to look for them by an index.
FEW = {"device_pair", "rollup_state", "rollup_mark", "archive_part", "pair_by_id", "register_event"}
# Three days have a page or two of rows: PostgreSQL reads these whole once it knows that.
SMALL = FEW | {"meter_day", "vehicle_day", "pair_day"}


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        (f"/v1/analytics/performance/VEHICLE_007?{WINDOW}", days("meter", 1, 2) | days("vehicle", 1, 2)),
        ("/v1/analytics/performance/VEHICLE_007?window=24h", days("meter", 3) | days("vehicle", 3)),
        (f"/v1/analytics/history/vehicle/VEHICLE_007?{WINDOW}", days("vehicle", 1, 2)),
        (f"/v1/analytics/history/meter/METER_007?{WINDOW}&order=asc&limit=5", days("meter", 1, 2)),
        (f"/v1/analytics/history/meter/METER_007?{WINDOW}&resolution=15m", days("meter", 1, 2)),
        (f"/v1/analytics/history/vehicle/VEHICLE_007?{WINDOW}&resolution=1h", days("vehicle", 1, 2)),
        (f"/v1/analytics/history/vehicle/VEHICLE_007?{WINDOW}&resolution=1d", days("vehicle", 1, 2)),
        ("/v1/ingest/vehicle/VEHICLE_007/current", set()),
    ],
)
def test_routes_for_one_device_touch_its_days_only(vacuumed: Database, path: str, touched: set[str]) -> None:
    plans = vacuumed.asked(path)
    assert plans
    for name, plan in plans.items():
        assert plan.partitions <= touched, name
        assert plan.ways <= {"Index Only Scan"}, name
        assert plan.heap_fetches == 0, name
        assert plan.seq_scans <= SMALL, name


@pytest.mark.parametrize(
    "path", ["/v1/analytics/stats?window=24h", f"/v1/analytics/alerts?{WINDOW}", "/v1/analytics/alerts?window=24h"]
)
def test_routes_for_the_fleet_find_hours_by_an_index(vacuumed: Database, path: str) -> None:
    plans = vacuumed.asked(path)
    for name, plan in plans.items():
        assert not plan.seq_scans & {"meter_hour", "vehicle_hour", "pair_hour"}, name
        assert not [node for node in plan.history if node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 1], name
    assert "pair_hour" in {node.get("Relation Name") for plan in plans.values() for node in plan.nodes}


def test_registers_are_read_from_the_index_too(vacuumed: Database) -> None:
    plan = vacuumed.plan("performance_correlate", *meeting(NOON - DAY, NOON, REGISTERS), False)
    assert plan.partitions == days("meter", 1, 2) | days("vehicle", 1, 2)
    assert plan.ways == {"Index Only Scan"}


@pytest.mark.parametrize(("name", "kind", "values", "touched"), OF_ROLLUPS, ids=as_id)
def test_an_hour_is_rolled_up_from_the_index_of_its_day(
    vacuumed: Database, name: str, kind: Kind | None, values: tuple[Any, ...], touched: set[str]
) -> None:
    plan = vacuumed.plan(name, *values, kind=kind, run=False)
    assert plan.partitions == touched
    assert plan.ways == {"Index Only Scan"}
    assert plan.seq_scans == set()


@pytest.mark.parametrize("kind", KINDS, ids=as_id)
def test_what_a_day_that_is_given_up_said_last_is_read_from_its_index(vacuumed: Database, kind: Kind) -> None:
    plan = vacuumed.plan("given_up_keep", START + DAY, START + 2 * DAY, kind=kind, run=False)
    assert plan.partitions == days(kind.name, 1)
    assert plan.ways == {"Index Only Scan"}


def test_days_are_rolled_up_from_the_keys_of_the_hours(vacuumed: Database) -> None:
    for name, kind in (("rollup_days", METER), ("rollup_days", VEHICLE), ("rollup_pair_days", None)):
        plan = vacuumed.plan(name, [device(kind or VEHICLE)], [START + DAY], kind=kind, run=False)
        assert plan.seq_scans == set(), name
        table = f"{kind.name}_hour" if kind else "pair_hour"
        assert plan.node_on(table)["Index Name"] == f"{table}_pkey"


def test_what_is_to_be_made_anew_is_found_by_keys(vacuumed: Database) -> None:
    plan = vacuumed.plan("rollup_fed_vehicles", ["METER_007"], [NOON], MINUTE)
    assert plan.seq_scans <= {"device_pair"}  # which is empty here
    plan = vacuumed.plan("pairing_hours", ["VEHICLE_007"], ["METER_007"], END, START)
    assert plan.seq_scans <= {"device_pair"}


def test_the_newest_readings_are_found_without_reading_the_rest(vacuumed: Database) -> None:
    # Without bounds, as the first page of a device's history is asked for: DISTINCT ON and LIMIT stop the index scan.
    values = ("METER_007", START - timedelta(days=400), END + MINUTE, 11)
    plan = vacuumed.plan("history_newest_first", *values, kind=METER)
    assert plan.ways == {"Index Only Scan"}
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in plan.history) <= 12 + DAYS
    assert "Sort" not in {node["Node Type"] for node in plan.nodes}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_current_state_is_found_by_its_key(vacuumed: Database, kind: Kind) -> None:
    vacuumed.runner.run(vacuumed.session.execute("SET plan_cache_mode = force_generic_plan"))
    try:
        together = vacuumed.plan("current_states", [device(kind), "other17"], kind=kind)
    finally:
        vacuumed.runner.run(vacuumed.session.execute("SET plan_cache_mode = force_custom_plan"))
    for plan in (together, vacuumed.plan("current_state", device(kind), kind=kind)):
        assert [node["Node Type"] for node in plan.nodes] == ["Index Scan"]
        assert plan.nodes[0]["Index Name"] == f"{kind.name}_current_pkey"


def test_who_feeds_a_vehicle_is_found_by_keys(vacuumed: Database) -> None:
    window = (NOON - DAY, NOON)
    plan = vacuumed.plan("performance_segments", ["VEHICLE_007"] * 2, ["METER_007", "VEHICLE_007"], *window)
    assert plan.node_on("meter_current")["Node Type"] in ("Index Only Scan", "Index Scan")
    assert plan.partitions == set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_questions_about_the_fleet_step_through_the_index(vacuumed: Database, kind: Kind) -> None:
    plan = vacuumed.plan("fleet_oldest", START, NOON, kind=kind)
    assert plan.partitions == days(kind.name, 0, 1, 2)
    assert plan.ways == {"Index Only Scan"}
    for name in ("audit_devices", "audit_current"):
        plan = vacuumed.plan(name, (START + 2 * DAY).date(), kind=kind)
        assert plan.partitions == days(kind.name, 2, 3), name
        assert plan.ways <= {"Index Only Scan", "Index Scan"}, name
    plan = vacuumed.plan("fleet_any_reading", NOON, kind=kind)
    assert sum(node["Actual Rows"] for node in plan.history) == 1


def test_a_retry_of_a_dead_letter_finds_the_newest_reading_in_the_index(vacuumed: Database) -> None:
    plan = vacuumed.plan("dead_letter_current", "METER_007", 1, True, kind=METER, run=False)
    assert plan.ways == {"Index Only Scan"}
    assert {node["Node Type"] for node in plan.nodes} & {"Sort", "Incremental Sort"} == set()


def test_no_statement_on_history_has_been_forgotten() -> None:
    on_history = {
        file.stem for file in (resource("sql") / "queries").glob("*.sql") if "_history" in statement(file.stem)
    }
    checked = {name for name, *_ in ONE_DEVICE + OF_ROLLUPS} | OF_THE_FLEET | {"dead_letter_current"}
    assert on_history == checked | READS_ALL | OF_A_DAY | OF_THE_CATALOG
