"""The audit against real tables, balanced and not."""

import asyncio
import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hseie import cli, commands, database
from hseie.audit import audit, read_journals
from hseie.books import Audit
from hseie.errors import DatabaseUnavailableError

JOURNAL = UUID(int=7)


async def execute(url: str, *statements: str) -> None:
    async def work(connection: Any) -> None:
        for statement in statements:
            await connection.execute(statement)

    await database.with_connection(url, "tests", work)


async def audited(url: str, from_day: date | None = None) -> Audit:
    look = partial(read_journals, Path("no such folder"), 1)
    return await database.with_connection(url, "tests", lambda connection: audit(connection, look, from_day))


@pytest.fixture
async def kept(database_url: str) -> str:
    """A database with four readings of two meters, one of them corrected, a duplicate and a dead letter."""
    await execute(
        database_url,
        "SELECT hseie_make_partition('meter', '2026-02-08'), hseie_make_partition('meter', '2026-02-07')",
        f"INSERT INTO shard_checkpoint VALUES ('{JOURNAL}', 0, 1, 1, gen_random_uuid(), 1, 9)",
        f"INSERT INTO shard_book VALUES ('{JOURNAL}', 'meter', 6, 4, 1, 1)",
        f"INSERT INTO day_book VALUES ('{JOURNAL}', 'meter', '2026-02-08', 3), ('{JOURNAL}', 'meter', '2026-02-07', 1)",
        "INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason) "
        f"VALUES ('{JOURNAL}', 'meter', 'x', '22003', 'y')",
        "INSERT INTO meter_history (timestamp, meter_id, kwh_consumed_ac, voltage) VALUES "
        "('2026-02-08T10:00Z', 'M1', 1, 230), ('2026-02-07T10:00Z', 'M1', 9, 230), "
        "('2026-02-08T11:00Z', 'M2', 2, 230), ('2026-02-08T11:00Z', 'M2', 3, 231)",
        "INSERT INTO meter_current (timestamp, meter_id, kwh_consumed_ac, voltage) VALUES "
        "('2026-02-08T10:00Z', 'M1', 1, 230), ('2026-02-08T11:00Z', 'M2', 3, 231)",
    )
    return database_url


async def test_a_fresh_database_balances(database_url: str) -> None:
    found = await audited(database_url)
    assert found.balanced
    assert found.kinds["vehicle"].received == 0


async def test_balanced(kept: str) -> None:
    found = await audited(kept)
    assert found.differences == []
    meter = found.kinds["meter"]
    assert (meter.received, meter.tables.history, meter.tables.devices, meter.in_flight) == (6, 4, 2, None)


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (
            "DELETE FROM meter_history WHERE meter_id = 'M1' AND kwh_consumed_ac = 9",
            "meter_history_2026_02_07 has 0 rows, the books say 1 of 2026-02-07 were stored",
        ),
        (
            "INSERT INTO meter_history (timestamp, meter_id, kwh_consumed_ac, voltage) "
            "SELECT timestamp, meter_id, kwh_consumed_ac, voltage FROM meter_history WHERE meter_id = 'M1' LIMIT 1",
            "meter_history_2026_02_07 has 2 rows, the books say 1",
        ),
        ("DELETE FROM dead_letter", "dead_letter has 0 rows of kind meter, the books say 1 were parked (shard 0 of 1"),
        (
            "INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason) "
            "VALUES ('00000000-0000-0000-0000-000000000008', 'meter', 'x', '22003', 'y')",
            "dead_letter has 1 rows of kind meter, the books say 0 were parked (journal 00000000",
        ),
        ("UPDATE meter_current SET kwh_consumed_ac = 2 WHERE meter_id = 'M2'", "for 1 devices, for example M2"),
        ("UPDATE meter_current SET timestamp = '2026-02-07T10:00Z' WHERE meter_id = 'M1'", "for example M1"),
        ("DELETE FROM meter_current WHERE meter_id = 'M1'", "meter_current lacks 1 devices"),
        ("INSERT INTO meter_current VALUES ('M3', now(), 1, 1)", "for 1 devices, for example M3"),
        ("UPDATE shard_book SET duplicates = 0", "the book of shard 0 of 1, meter"),
        ("UPDATE shard_book SET stored = 5, received = 7", "stored 5 is not what its days add up to, 4"),
        ("UPDATE shard_book SET stored_undated = 1, stored = 5, received = 7", "before the days were counted"),
    ],
)
async def test_damage_is_found_and_its_place_named(kept: str, damage: str, place: str) -> None:
    await execute(kept, damage)
    found = await audited(kept)
    assert len(found.differences) == 1
    assert place in found.differences[0]


async def test_a_row_on_another_day_is_missed_on_its_own_and_found_on_the_other(kept: str) -> None:
    await execute(kept, "UPDATE meter_history SET timestamp = '2026-02-07T11:00Z' WHERE kwh_consumed_ac = 2")
    assert [difference.split(",")[0] for difference in (await audited(kept)).differences] == [
        "meter_history_2026_02_07 has 2 rows",
        "meter_history_2026_02_08 has 2 rows",
    ]


async def test_days_before_those_asked_for_are_not_read(kept: str) -> None:
    await execute(kept, "DELETE FROM meter_history WHERE kwh_consumed_ac = 9")
    found = await audited(kept, date(2026, 2, 8))
    assert found.differences == []
    assert [(day.kind, day.day, day.stored, day.rows) for day in found.days] == [("meter", "2026-02-08", 3, 3)]
    assert (found.kinds["meter"].tables.history, found.kinds["meter"].received) == (3, 6)
    # A device that was heard of in these days only by its history lacks a current state, older ones do not.
    await execute(kept, "UPDATE meter_current SET timestamp = '2026-02-07T10:00Z' WHERE meter_id = 'M1'")
    assert (await audited(kept, date(2026, 2, 8))).differences == ["meter_current lacks 1 devices that have readings"]
    assert (await audited(kept, date(2026, 2, 9))).differences == []


async def test_the_command(
    kept: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setenv("DATABASE_URL", kept)
    arguments = ["audit", "--data", str(tmp_path)]
    # In a thread: the command has a loop of its own.
    assert await asyncio.to_thread(cli.main, arguments) == 0
    assert capsys.readouterr().out.endswith("The books balance.\n")
    await execute(kept, "DELETE FROM dead_letter")
    assert await asyncio.to_thread(cli.main, [*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["balanced"] is False
    assert document["kinds"]["meter"]["in_flight"] is None
    assert "dead_letter" in document["differences"][0]
    assert [day["rows"] for day in document["days"]] == [1, 3]
    assert await asyncio.to_thread(cli.main, [*arguments, "--json", "--days", "1"]) == 1
    assert json.loads(capsys.readouterr().out)["days"] == []


COMMANDS = (["audit"], ["migrate"], ["journal", "retire"], ["journal", "retire", "--undo", str(JOURNAL)])
LETTERS = (["dead-letter", "list"], ["dead-letter", "drop", "--yes", "1"], ["dead-letter", "retry", "1"])


@pytest.mark.parametrize("command", [*COMMANDS, *LETTERS], ids=" ".join)
def test_no_database_is_not_an_outcome(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1 of an audit means that the books do not balance."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert cli.main([*command, "--data", str(tmp_path)]) == 69
    assert capsys.readouterr().err.startswith("hseie: no connection to PostgreSQL")


@pytest.mark.parametrize(
    ("command", "damage"),
    [
        (["audit"], "DROP TABLE day_book"),
        (["audit"], "ALTER TABLE shard_book DROP COLUMN stored_undated"),
        (["journal", "retire"], "ALTER TABLE shard_checkpoint DROP COLUMN retired_at"),
        (["dead-letter", "list"], "DROP TABLE dead_letter"),
    ],
)
async def test_tables_of_an_older_version_are_told_apart_from_books_that_differ(
    database_url: str,
    command: list[str],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    await execute(database_url, damage)
    assert await asyncio.to_thread(cli.main, [*command, "--data", str(tmp_path)]) == 78
    assert "run `hseie migrate`" in capsys.readouterr().err


@pytest.mark.parametrize("sql", ["SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1 / 0"])
def test_what_the_database_says_on_the_way_is_passed_on(
    database_url: str, sql: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    config = cli.configuration(None, str(tmp_path))
    with pytest.raises(DatabaseUnavailableError, match=r"PostgreSQL: .*what was done until then stays"):
        commands.with_database(config, "tests", lambda connection: connection.execute(sql))
