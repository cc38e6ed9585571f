"""kill -9 of maintenance in the middle of rollups: nothing half done is read, and the work is taken up again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.faults.conftest import faults_at, until_fired, until_restarted
from tests.integration.rollup_oracle import NAMES, Facts, day_of, devices, hour_of, pairs
from tests.system.conftest import Stage
from tests.system.ledger import Reading
from tests.system.node import Node, eventually

HOUR = timedelta(hours=1)
CLOSED = "maintenance/rollup.closed:kill@1"
PORTION = "maintenance/rollup.portion:kill@2"
BEFORE_COMMIT = "maintenance/rollup.before_commit:kill@1"
STATE = "SELECT rolled_until FROM rollup_state WHERE rolled_until = closed_until AND isfinite(rolled_until)"


def fleet(start: datetime, minutes: int, kwh: float) -> list[Reading]:
    """Readings of three pairs, a minute apart; those of vehicles a little later."""
    found: list[Reading] = []
    for minute in range(minutes):
        for number in range(3):
            at = start + timedelta(minutes=minute, seconds=number)
            found.append(
                {"meterId": f"METER_{number}", "kwhConsumedAc": kwh, "voltage": 230.0, "timestamp": at.isoformat()}
            )
            found.append(
                {
                    "vehicleId": f"VEHICLE_{number}",
                    "soc": 50.0,
                    "kwhDeliveredDc": kwh / 2,
                    "batteryTemp": 20.0,
                    "timestamp": (at + timedelta(seconds=7)).isoformat(),
                }
            )
    return found


def send(node: Node, readings: list[Reading]) -> int:
    """Store readings of both kinds; the status of the answer."""
    return node.call("POST", "/v1/ingest", readings, {"Prefer": "wait"}).status


def facts_of(node: Node) -> Facts:
    """What history holds."""
    facts = Facts()
    for kind, names in NAMES.items():
        rows = node.sql(f"SELECT {kind}_id, timestamp, {', '.join(names)} FROM {kind}_history ORDER BY id")
        facts.rows += [(kind, device, at, tuple(values)) for device, at, *values in rows]
    return facts


def rollups(node: Node, table: str, keys: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {row[:keys]: row[keys:] for row in node.sql(f"SELECT * FROM {table}")}


def prove(node: Node) -> None:
    """All rollups say what history says of the hours that are rolled up, and no mark is left."""
    eventually(lambda: node.sql("SELECT count(*) FROM rollup_mark") == [(0,)], "all marks are consumed")
    [(rolled,)] = node.sql(STATE)
    facts = facts_of(node)
    for table, keys, expected in (
        ("meter_hour", 2, devices(facts, "meter", hour_of)),
        ("vehicle_hour", 2, devices(facts, "vehicle", hour_of)),
        ("pair_hour", 3, pairs(facts, hour_of)),
        ("vehicle_day", 2, devices(facts, "vehicle", day_of)),
        ("pair_day", 3, pairs(facts, day_of)),
    ):
        width = HOUR if table.endswith("hour") else 24 * HOUR
        wanted = {key: row for key, row in expected.items() if key[1] + width <= rolled}
        assert rollups(node, table, keys) == wanted, table


def test_what_was_begun_is_made_whole(stage: Stage, marks: Path, new_database: Callable[[], str]) -> None:
    clock = marks / "clock"
    # Two hours behind, and right later: hours are closed by the earlier of this clock and PostgreSQL's.
    behind = 2 * HOUR
    clock.write_text(str(-int(behind.total_seconds())))
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_MAINTENANCE__ROLLUP_INTERVAL_S="0.3",
        HSEIE_MAINTENANCE__ROLLUP_LAG_S="0",
        HSEIE_CLOCK_FILE=str(clock),
        **faults_at(marks, CLOSED, PORTION, BEFORE_COMMIT),
    ).start()
    # A fresh database: its first closing is cut off before anything is rolled up.
    until_fired(marks, [CLOSED])
    until_restarted(node, "maintenance", 1)
    eventually(lambda: node.sql(STATE), "there is nothing to roll up")
    now = datetime.now(UTC) - behind
    yesterday = hour_of(now) - 24 * HOUR
    # Of hours that are closed and of one that is not.
    assert send(node, fleet(hour_of(now), 1 + now.minute // 2, 2.0)) == 201
    [(rolled,)] = node.sql(STATE)
    clock.write_text("0")
    until_fired(marks, [PORTION])
    until_restarted(node, "maintenance", 2)
    eventually(lambda: [row for row in node.sql(STATE) if row[0] > rolled], "the hour is rolled up")
    prove(node)
    assert send(node, fleet(yesterday - timedelta(seconds=20), 5, 3.0)) == 201
    until_fired(marks, [BEFORE_COMMIT])
    until_restarted(node, "maintenance", 3)
    prove(node)
    assert len(rollups(node, "pair_hour", 3)) >= 9
