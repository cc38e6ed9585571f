"""`hseie dead-letter`, on a database without a node."""

import asyncio
import json
from typing import Any

import click
import pytest

from hseie import cli
from tests.integration.test_cli_audit import JOURNAL, execute

Capture = pytest.CaptureFixture[str]
ORIGINAL = "M{number}\\t2026-02-08T10:00:00\\t{kwh}.0000\\t230.00"


@pytest.fixture
async def parked(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with three dead letters; a rule that refuses 13 kWh, which the second one has."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    rows = ", ".join(
        f"('{JOURNAL}', 'meter', E'{ORIGINAL.format(number=number, kwh=number + 11)}', '23514', 'too much')"
        for number in (1, 2, 3)
    )
    await execute(
        database_url,
        f"INSERT INTO shard_checkpoint VALUES ('{JOURNAL}', 0, 1, 1, gen_random_uuid(), 1, 9)",
        f"INSERT INTO shard_book VALUES ('{JOURNAL}', 'meter', 3, 0, 0, 3)",
        f"INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason) VALUES {rows}",
        "ALTER TABLE meter_history ADD CONSTRAINT unlucky CHECK (kwh_consumed_ac <> 13)",
    )
    return database_url


async def command(*arguments: str) -> int:
    return await asyncio.to_thread(cli.main, ["dead-letter", *arguments])  # a command has a loop of its own


async def asked(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert await command(*arguments, "--json") == code
    return json.loads(capsys.readouterr().out)


async def test_list(parked: str, capsys: Capture) -> None:
    assert await command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "kind", "device", "time", "age", "sqlstate", "reason"]
    assert lines[1].split()[:4] == ["3", "meter", "M3", "2026-02-08T10:00:00Z"]
    shortened = await asked(capsys, "list", "--limit", "2")
    assert ([letter["id"] for letter in shortened["dead_letters"]], shortened["more"]) == ([3, 2], True)
    assert await asked(capsys, "list", "--sqlstate", "22003") == {"dead_letters": [], "more": False}
    assert await command("list", "--kind", "vehicle") == 0
    assert capsys.readouterr().out == "There are no dead letters.\n"


async def test_show(parked: str, capsys: Capture) -> None:
    shown = await asked(capsys, "show", "2")
    reading = {"meterId": "M2", "timestamp": "2026-02-08T10:00:00Z", "kwhConsumedAc": 13.0, "voltage": 230.0}
    assert shown["reading"] == reading
    assert (shown["journal_id"], shown["sqlstate"], shown["reason"]) == (str(JOURNAL), "23514", "too much")
    assert await command("show", "2") == 0
    assert "  kwhConsumedAc   13.0\n" in capsys.readouterr().out
    assert await command("show", "9") == 1
    assert "there is no dead letter 9" in capsys.readouterr().err


async def test_retry_stores_what_it_can(parked: str, capsys: Capture) -> None:
    found = await asked(capsys, "retry", "--all", code=1)
    assert found["stored"] == [1, 3]
    [refused] = found["refused"]
    assert refused["id"] == 2
    assert "unlucky" in refused["reason"]
    assert await asyncio.to_thread(cli.main, ["audit"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1:5] == ["3", "2", "0", "1"]
    assert await command("retry", "2") == 1
    assert capsys.readouterr().out.endswith("0 stored, 1 stay dead letters.\n")


async def test_drop_asks_and_the_books_note_it(parked: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = []

    def say_no(question: str, **_: Any) -> None:
        questions.append(question)
        raise click.Abort

    monkeypatch.setattr("click.confirm", say_no)
    assert await command("drop", "--all") == 130
    assert questions == ["Delete 3 acknowledged readings for good?"]
    assert await asked(capsys, "drop", "2", "9", "--yes", code=1) == {"dropped": 1, "missing": 1}
    assert await asked(capsys, "drop", "--all", "--yes") == {"dropped": 2, "missing": 0}
    assert await asyncio.to_thread(cli.main, ["audit"]) == 0
    # A row that is gone without having been dropped is still missed.
    await execute(parked, "UPDATE shard_book SET dropped = 2")
    capsys.readouterr()
    assert await asyncio.to_thread(cli.main, ["audit"]) == 1
    assert "3 were parked and 2 of them dropped" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["retry"], ["drop", "--yes"], ["retry", "--all", "1"], ["drop", "0"]])
async def test_it_has_to_be_said_which(parked: str, capsys: Capture, arguments: list[str]) -> None:
    assert await command(*arguments) == 64
    assert "Error:" in capsys.readouterr().err
