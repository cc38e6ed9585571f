"""The oracle of the long run is checked itself: each kind of damage is found, and nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hseie.database import with_connection
from tests.faults.large_ledger import Outcome, compare

TIME = "2026-02-09T12:00:00.120Z"
PROMISED = [["meter", "M1", TIME, 10.5, 230.25], ["vehicle", "V1", TIME, 75.5, 9.5, -3.25]]
UNKNOWN = [["meter", "M2", TIME, 1, 230]]
MALFORMED = [["meter", "M3", "yesterday", 1, 230], ["meter", "M4", TIME, 1, 230]]


def write(file: Path, *requests: tuple[str, Sequence[Any], Sequence[int]]) -> Path:
    lines = [
        json.dumps({"readings": readings, "outcome": outcome, "malformed": malformed, "rejected_at": malformed})
        for outcome, readings, malformed in requests
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    # M4 was not accepted, and nobody knows why: it may be stored.
    return write(
        tmp_path / "ledger", ("accepted", PROMISED, []), ("unknown", UNKNOWN, []), ("rejected", MALFORMED, [0])
    )


async def outcome_with(url: str, ledger: Path, *statements: str) -> Outcome:
    async def work(connection: Any) -> None:
        await connection.execute(
            "SELECT hseie_make_partition(kind, '2026-02-09') FROM unnest('{meter,vehicle}'::text[]) AS kind"
        )
        for statement in statements:
            await connection.execute(statement)

    await with_connection(url, "tests", work)
    return await compare([ledger], url, ledger.parent)


def meter(device: str, kwh: float = 10.5, time: str = TIME) -> str:
    columns = "timestamp, meter_id, kwh_consumed_ac, voltage"
    return f"INSERT INTO meter_history ({columns}) VALUES ('{time}', '{device}', {kwh}, 230.25)"


VEHICLE = (
    "INSERT INTO vehicle_history (timestamp, vehicle_id, soc, kwh_delivered_dc, battery_temp) "
    f"VALUES ('{TIME}', 'V1', 75.5, 9.5, -3.25)"
)


async def test_agreement(database_url: str, ledger: Path) -> None:
    outcome = await outcome_with(database_url, ledger, meter("M1"), VEHICLE)
    assert (outcome.differences, outcome.acknowledged, outcome.promised, outcome.stored) == ([], 2, 2, 2)


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        ([meter("M1")], "1 lost: ['vehicle\\tV1"),
        ([meter("M1"), meter("M1"), VEHICLE], "1 stored more than once: ['meter\\tM1"),
        ([meter("M1"), meter("M3"), VEHICLE], "1 stored, but never sent or refused: ['meter\\tM3"),
        ([meter("M1"), meter("M1", 10.51), VEHICLE], "1 stored, but never sent or refused: ['meter\\tM1"),
    ],
)
async def test_damage_is_found(database_url: str, ledger: Path, statements: list[str], what: str) -> None:
    differences = (await outcome_with(database_url, ledger, *statements)).differences
    assert len(differences) == 1
    assert differences[0].startswith(what)
