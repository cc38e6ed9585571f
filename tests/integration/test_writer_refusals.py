"""Lines that history or current state refuse: parked one by one, in their place, and told to whoever waits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.test_writer_commit import Shard, books, meter, query, stored

# What an operator may put on a table of ours: rules kept by PostgreSQL or by a trigger, at once or at the commit.
CONSTRAINT = "ALTER TABLE meter_current ADD CONSTRAINT mine CHECK (kwh_consumed_ac <> 13)"
TRIGGER = """
    CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.kwh_consumed_ac = 13 THEN RAISE EXCEPTION 'mine: no thirteen' {how}; END IF;
        RETURN NEW;
    END $$;
    CREATE {when} ON meter_current {late} FOR EACH ROW EXECUTE FUNCTION mine()
"""
RULES = {
    "a constraint": (CONSTRAINT, "23514"),
    "a trigger": (TRIGGER.format(how="", when="TRIGGER mine BEFORE INSERT", late=""), "P0001"),
    "a trigger that speaks of a check": (
        TRIGGER.format(how="USING ERRCODE = 'check_violation'", when="TRIGGER mine BEFORE INSERT", late=""),
        "23514",
    ),
    "a trigger at the commit": (
        TRIGGER.format(
            how="", when="CONSTRAINT TRIGGER mine AFTER INSERT OR UPDATE", late="DEFERRABLE INITIALLY DEFERRED"
        ),
        "P0001",
    ),
}


@pytest.fixture
async def shard(tmp_path: Path, database_url: str) -> AsyncIterator[Shard]:
    shard = await Shard(tmp_path / "journal.sqlite", database_url).open()
    yield shard
    await shard.journal.close()


async def execute(url: str, statements: str) -> None:
    for statement in statements.split(";\n    CREATE"):
        await query(url, statement if statement.lstrip().startswith(("CREATE", "ALTER")) else f"CREATE{statement}")


async def current(url: str) -> list[tuple[str, float]]:
    sql = "SELECT meter_id, kwh_consumed_ac::float FROM meter_current ORDER BY meter_id"
    return [(device, kwh) for device, kwh in await query(url, sql)]


@pytest.mark.parametrize("rule", RULES)
async def test_a_line_that_only_the_current_state_refuses_is_parked(shard: Shard, rule: str) -> None:
    statements, sqlstate = RULES[rule]
    await execute(shard.url, statements)
    async with shard.running():
        # In between, its own device has good lines: the one before it and the one after it count.
        await shard.until_committed(
            await shard.receive(meter("A", 1, 12), meter("B", 1), meter("A", 2, 13), meter("C", 1), meter("C", 2, 7))
        )
        assert await current(shard.url) == [("A", 12.0), ("B", 1.0), ("C", 7.0)]
        await shard.until_committed(await shard.receive(meter("A", 3, 14)))
    assert await current(shard.url) == [("A", 14.0), ("B", 1.0), ("C", 7.0)]
    assert len(await stored(shard.url)) == 5
    assert await books(shard.url) == [(6, 5, 0, 1)]
    original = meter("A", 2, 13).rstrip("\n")
    assert await query(shard.url, "SELECT original, sqlstate FROM dead_letter") == [(original, sqlstate)]


async def test_many_lines_of_one_device_come_to_its_newest_state_in_pieces(shard: Shard) -> None:
    await execute(shard.url, CONSTRAINT)
    good = [meter("A", number, 100 + number) for number in range(40)]
    late = [meter("A", number, 200 + number) for number in range(20)]
    async with shard.running():
        await shard.until_committed(await shard.receive(*good, *late, meter("A", 50, 13)))
    assert await current(shard.url) == [("A", 139.0)]
    assert [kwh for _, _, kwh in await stored(shard.url)] == [*range(100, 140), *range(200, 220)]
    assert await books(shard.url) == [(61, 60, 0, 1)]


async def test_a_parked_line_has_its_id_between_those_of_its_neighbours(shard: Shard) -> None:
    await query(shard.url, "ALTER TABLE meter_history ADD CHECK (kwh_consumed_ac <> 13)")
    async with shard.running():
        await shard.until_committed(await shard.receive(*[meter("A", 1, number) for number in range(30)]))
    ids = "SELECT id, kwh_consumed_ac::float FROM meter_history UNION ALL SELECT reading_id, 13 FROM dead_letter"
    assert [kwh for _, kwh in sorted(await query(shard.url, ids))] == [float(number) for number in range(30)]


async def test_who_waits_is_told_which_lines_were_parked(shard: Shard) -> None:
    await query(shard.url, "ALTER TABLE meter_history ADD CHECK (kwh_consumed_ac <> 13)")
    first = await shard.receive(meter("A", 1), meter("A", 1), meter("A", 2, 13), duplicates=[1])
    second = await shard.receive(meter("B", 1), meter("B", 2))
    third = await shard.receive(meter("C", 1, 13), meter("C", 2), meter("C", 3, 13))
    async with shard.running():
        await shard.until_committed(third)
        assert second == first + 1
        assert shard.committer.parked == {first: {0: [2]}, third: {0: [0, 2]}}
        await shard.until_committed(await shard.receive(meter("D", 1)))
        assert shard.committer.parked == {}
