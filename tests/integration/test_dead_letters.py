"""Dead letters stored after all or given up: in their place, under running flushes, and with books that balance."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hseie import archive as archive_module
from hseie import database, dead_letters
from hseie.archive import Archive
from hseie.audit import audit
from hseie.books import Journals
from hseie.readings import METER
from tests.integration.archive_scene import DAY as OLD_DAY
from tests.integration.archive_scene import ArchiveScene, needs_duckdb
from tests.integration.test_writer_commit import DAY, Shard, meter, query

NO_ARCHIVE = Archive(Path("nowhere"), 64)
RULE = "ALTER TABLE meter_history ADD CONSTRAINT mine CHECK (kwh_consumed_ac <> 13)"
RULE_AWAY = "ALTER TABLE meter_history DROP CONSTRAINT mine"
VEHICLE = f"V\t{DAY}T12:00:01\t50.00\t1.0000\t20.00\n"


@pytest.fixture
async def shard(tmp_path: Path, database_url: str) -> AsyncIterator[Shard]:
    shard = await Shard(tmp_path / "journal.sqlite", database_url).open()
    yield shard
    await shard.journal.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await database.connect(database_url, "tests", 5, {"lock_timeout": "5000"})
    yield connection
    await database.close(connection)


async def park(shard: Shard, *lines: str, kind: int = 0) -> list[int]:
    """Let these lines be refused; the ids of their dead letters in order."""
    before = {row[0] for row in await query(shard.url, "SELECT id FROM dead_letter")}
    await shard.until_committed(await shard.receive(*lines, kind=kind))
    return sorted({row[0] for row in await query(shard.url, "SELECT id FROM dead_letter")} - before)


async def expect_balance(connection: Any, dead: int, stored: int) -> None:
    found = await audit(connection, lambda _: Journals())
    assert found.differences == []
    meters = found.kinds["meter"]
    assert (meters.tables.dead_letters, meters.tables.history) == (dead, stored)


async def state(url: str) -> list[Any]:
    return await query(url, "SELECT meter_id, timestamp::time(0)::text, kwh_consumed_ac::float FROM meter_current")


async def effective(url: str) -> list[Any]:
    """The newest row per device and timestamp, as every analytic takes it."""
    sql = "SELECT DISTINCT ON (meter_id, timestamp) kwh_consumed_ac::float FROM meter_history"
    return [kwh for (kwh,) in await query(url, f"{sql} ORDER BY meter_id, timestamp, id DESC")]


async def test_a_retry_does_not_undo_the_correction_that_came_later(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13))
        await shard.until_committed(await shard.receive(meter("A", 5, 14)))
        await query(shard.url, RULE_AWAY)
        assert await dead_letters.retry(connection, dead, NO_ARCHIVE) == ""
    assert await effective(shard.url) == [14.0]
    assert await state(shard.url) == [("A", "12:00:05", 14.0)]
    await expect_balance(connection, dead=0, stored=2)


async def test_a_retry_is_itself_the_correction_of_what_came_before(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 5, 12)))
        [dead] = await park(shard, meter("A", 5, 13))
        await query(shard.url, RULE_AWAY)
        assert await dead_letters.retry(connection, dead, NO_ARCHIVE) == ""
    assert await effective(shard.url) == [13.0]
    assert await state(shard.url) == [("A", "12:00:05", 13.0)]
    await expect_balance(connection, dead=0, stored=2)


async def test_a_retry_leaves_a_newer_state_and_makes_a_missing_one(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        older, alone = await park(shard, meter("A", 5, 13), meter("B", 7, 13))
        await shard.until_committed(await shard.receive(meter("A", 9, 14)))
        await query(shard.url, RULE_AWAY)
        before = await query(shard.url, "SELECT updated_at FROM meter_current")
        assert await dead_letters.retry(connection, older, NO_ARCHIVE) == ""
        assert await query(shard.url, "SELECT updated_at FROM meter_current") == before
        assert await dead_letters.retry(connection, alone, NO_ARCHIVE) == ""
    assert sorted(await state(shard.url)) == [("A", "12:00:09", 14.0), ("B", "12:00:07", 13.0)]
    await expect_balance(connection, dead=0, stored=3)


async def test_a_retry_leaves_a_state_that_is_newer_than_all_of_history(shard: Shard, connection: Any) -> None:
    """As when the day of the newest reading has been archived."""
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13, day="2026-11-19"))
        await shard.until_committed(await shard.receive(meter("A", 4, 14)))
        await query(shard.url, "DROP TABLE meter_history_2026_11_20")
        await query(shard.url, RULE_AWAY)
        assert await dead_letters.retry(connection, dead, NO_ARCHIVE) == ""
    assert await state(shard.url) == [("A", "12:00:04", 14.0)]


async def test_dead_letters_of_one_timestamp_keep_their_order_however_they_are_retried(
    shard: Shard, connection: Any
) -> None:
    await query(shard.url, RULE.replace("<> 13", "< 13"))
    async with shard.running():
        first, second, third = await park(shard, meter("A", 5, 13), meter("A", 5, 15), meter("A", 5, 14))
        await query(shard.url, RULE_AWAY)
        for dead in (third, first, second):
            assert await dead_letters.retry(connection, dead, NO_ARCHIVE) == ""
            assert (await state(shard.url))[0][2] == 14.0
    assert await effective(shard.url) == [14.0]
    await expect_balance(connection, dead=0, stored=3)


async def test_what_is_refused_again_stays_with_the_new_reason(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13))
        await query(shard.url, RULE_AWAY)
        await query(shard.url, "ALTER TABLE meter_current ADD CONSTRAINT other CHECK (kwh_consumed_ac < 13)")
        assert "other" in await dead_letters.retry(connection, dead, NO_ARCHIVE)
        letter = await dead_letters.read(connection, dead)
        assert letter is not None
        assert "other" in letter.reason
        await expect_balance(connection, dead=1, stored=0)
    assert "no such dead letter" in await dead_letters.retry(connection, dead + 1, NO_ARCHIVE)


async def test_the_day_of_a_retry_is_made_when_it_is_missing(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13))
        await query(shard.url, "DROP TABLE meter_history_2026_11_20")
        await query(shard.url, RULE_AWAY)
        assert await dead_letters.retry(connection, dead, NO_ARCHIVE) == ""
    await expect_balance(connection, dead=0, stored=1)


async def test_a_line_that_is_none_can_only_be_dropped(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        dead = await park(shard, meter("A", 5, 13), meter("A", 6, 13))
    await query(shard.url, "UPDATE dead_letter SET original = 'x' WHERE id = $1", dead[0])
    assert "can only be dropped" in await dead_letters.retry(connection, dead[0], NO_ARCHIVE)
    assert [letter.reading for letter in await dead_letters.find(connection, None, None, None)] == [
        {"meterId": "A", "timestamp": f"{DAY}T12:00:06Z", "kwhConsumedAc": 13.0, "voltage": 230.0},
        None,
    ]
    assert await dead_letters.drop(connection, [dead[0], 999]) == 1
    await expect_balance(connection, dead=1, stored=0)
    assert await query(shard.url, "SELECT dead_lettered, dropped FROM shard_book WHERE kind = 'meter'") == [(2, 1)]


async def test_of_two_operators_one_stores(shard: Shard, database_url: str, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13))
    await query(shard.url, RULE_AWAY)
    other = await database.connect(database_url, "tests", 5)
    found = await asyncio.gather(*(dead_letters.retry(each, dead, NO_ARCHIVE) for each in (connection, other)))
    await database.close(other)
    assert sorted(found)[0] == ""
    assert sorted(found)[1] in ("somebody else has taken it meanwhile", "there is no such dead letter")
    await expect_balance(connection, dead=0, stored=1)


async def test_retries_and_flushes_of_the_same_devices_serialise(shard: Shard, connection: Any) -> None:
    """Corrections of the same timestamps arrive while their dead letters are retried; the later one always wins."""
    await query(shard.url, RULE)
    devices = [f"M{number}" for number in range(15)]
    async with shard.running():
        dead = await park(shard, *[meter(device, 5, 13) for device in devices], meter("good", 1))
        await query(shard.url, RULE_AWAY)

        async def correct() -> None:
            for number, device in enumerate(devices):
                await shard.until_committed(await shard.receive(meter(device, 5, 100 + number)))

        async def bring_in() -> None:
            for one in dead:
                assert await dead_letters.retry(connection, one, NO_ARCHIVE) == ""

        await asyncio.gather(correct(), bring_in())
    assert sorted(await effective(shard.url))[1:] == [100.0 + number for number in range(15)]
    await expect_balance(connection, dead=0, stored=31)


async def test_a_retry_waits_for_the_flush_of_another_shard(shard: Shard, connection: Any) -> None:
    """The number of shards may have changed since: the device's newer readings come from another journal."""
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13))
    await query(shard.url, RULE_AWAY)
    await query(
        shard.url,
        "INSERT INTO shard_checkpoint (journal_id, shard, shards, epoch, owner, first_seq, last_seq) "
        "VALUES (gen_random_uuid(), 0, 2, 1, gen_random_uuid(), 1, 1)",
    )
    flushing = await database.connect(shard.url, "tests", 5)
    transaction = flushing.transaction()
    await transaction.start()
    await flushing.execute("UPDATE shard_checkpoint SET last_seq = 2 WHERE shards = 2")
    retrying = asyncio.ensure_future(dead_letters.retry(connection, dead, NO_ARCHIVE))
    await asyncio.sleep(0.5)
    assert not retrying.done()
    columns = '("timestamp", meter_id, kwh_consumed_ac, voltage)'
    for table in ("meter_history", "meter_current"):  # what that flush does: a correction of the same moment
        await flushing.execute(f"INSERT INTO {table} {columns} VALUES ('{DAY}T12:00:05Z', 'A', 14, 230)")
    await transaction.commit()
    assert await retrying == ""
    assert await state(shard.url) == [("A", "12:00:05", 14.0)]
    await database.close(flushing)


async def test_finding_them(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    await query(shard.url, "ALTER TABLE vehicle_history ADD CHECK (soc < 50)")
    async with shard.running():
        meters = await park(shard, meter("A", 5, 13), meter("B", 5, 13))
        [vehicle] = await park(shard, VEHICLE, kind=1)
    assert [letter.id for letter in await dead_letters.find(connection, None, None, 2)] == [vehicle, meters[1]]
    assert [letter.id for letter in await dead_letters.find(connection, "meter", None, None)] == meters[::-1]
    assert [letter.id for letter in await dead_letters.find(connection, None, "22003", None)] == []
    [letter] = await dead_letters.find(connection, "vehicle", "23514", None)
    assert (letter.device, letter.timestamp) == ("V", f"{DAY}T12:00:01Z")


async def test_no_journal_is_begun_while_dead_letters_move(shard: Shard, connection: Any) -> None:
    """A journal that has no row yet could otherwise be claimed, and flushed, in the midst of it."""
    await query(shard.url, RULE)
    async with shard.running():
        first, second = await park(shard, meter("A", 5, 13), meter("A", 6, 13))
    await query(shard.url, RULE_AWAY)
    await connection.execute("SET lock_timeout = 0")
    pid = connection.get_server_pid()
    other = await database.connect(shard.url, "tests", 5)
    try:
        for work, outcome in (
            (dead_letters.retry(connection, first, NO_ARCHIVE), ""),
            (dead_letters.drop(connection, [second]), 1),
        ):
            async with other.transaction():
                await other.execute(database.statement("checkpoint_claim_lock"))
                task = asyncio.ensure_future(work)
                waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = $1"
                async with asyncio.timeout(60):
                    while not await other.fetch(waiting, pid):
                        assert not task.done()
                        await asyncio.sleep(0.02)
            assert await asyncio.wait_for(task, 60) == outcome
    finally:
        await database.close(other)
    await expect_balance(connection, dead=0, stored=1)


async def test_a_retry_that_a_trigger_swallows_stays_and_says_so(shard: Shard, connection: Any) -> None:
    await query(shard.url, RULE)
    async with shard.running():
        [dead] = await park(shard, meter("A", 5, 13.0))
    await query(shard.url, RULE_AWAY)
    await query(shard.url, "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    await query(
        shard.url, "CREATE TRIGGER swallow BEFORE INSERT ON meter_history FOR EACH ROW EXECUTE FUNCTION swallow()"
    )
    assert "does a trigger or a rule drop rows" in await dead_letters.retry(connection, dead, NO_ARCHIVE)
    await expect_balance(connection, dead=1, stored=0)


# --- of days that have left history -----------------------------------------------------------------------------------

LAST = f"{OLD_DAY}T00:19:00"  # of the newest reading of each device of the scene
PARK = (
    "INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason) VALUES ($1, 'meter', $2, '23514', 'mine')"
    " RETURNING id"
)
PARKED = "UPDATE shard_book SET received = received + 1, dead_lettered = dead_lettered + 1 WHERE kind = 'meter'"
STATE = "SELECT kwh_consumed_ac::float AS kwh FROM meter_current WHERE meter_id = 'meter-0'"


class Gone:
    """A scene in which a reading of the newest timestamp of a device was refused, and its day has left history."""

    def __init__(self, scene: ArchiveScene) -> None:
        self.scene = scene
        self.archive = Archive(scene.folder, 64)
        self.dead = 0

    async def park(self, kwh: str = "13.0000") -> None:
        [row] = await self.scene.fetch(PARK, self.scene.journal, f"meter-0\t{LAST}\t{kwh}\t230.50")
        self.dead = row["id"]

    async def retry(self) -> str:
        async def work(connection: Any) -> str:
            return await dead_letters.retry(connection, self.dead, self.archive)

        try:
            return await database.with_connection(self.scene.url, "tests", work)
        finally:
            await self.archive.close()

    async def state(self) -> float:
        [row] = await self.scene.fetch(STATE)
        return float(row["kwh"])


async def gone(url: str, folder: Path, then: str, parked_first: bool) -> Gone:
    needs_duckdb()
    scene = ArchiveScene(url, folder, retention__then=then)
    await scene.begin()
    found = Gone(scene)
    if parked_first:
        await found.park()
    await scene.store(METER)
    if not parked_first:
        await found.park()
    await scene.execute(PARKED)
    await scene.until_archived()
    assert await scene.partitions() == set()
    return found


@pytest.mark.parametrize("then", ["archive", "drop"])
@pytest.mark.parametrize(("parked_first", "kwh"), [(True, 19 / 16), (False, 13.0)], ids=["corrected", "correction"])
async def test_a_retry_does_not_undo_a_correction_that_has_left_history(
    database_url: str, tmp_path: Path, then: str, parked_first: bool, kwh: float
) -> None:
    found = await gone(database_url, tmp_path, then, parked_first)
    assert await found.retry() == ""
    assert await found.state() == kwh
    assert (await found.scene.audit()).differences == []
    # And so it is in what follows: the late part leaves history too, and another is stored after all.
    await found.scene.execute("DELETE FROM rollup_mark")  # as maintenance has consumed them
    await found.scene.a_day_later()
    await found.scene.until_archived()
    assert await found.scene.partitions() == set()
    await found.park("14.0000")
    await found.scene.execute(PARKED)
    assert await found.retry() == ""
    assert await found.state() == 14.0
    assert (await found.scene.audit()).differences == []


async def test_a_state_stays_where_nobody_knows_which_reading_it_was(database_url: str, tmp_path: Path) -> None:
    found = await gone(database_url, tmp_path, "drop", parked_first=False)
    await found.scene.execute("DELETE FROM meter_given_up")  # as before it was kept
    assert await found.retry() == ""
    assert await found.state() == 19 / 16


async def test_a_retry_waits_for_an_archive_that_is_away_only_where_it_decides(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await gone(database_url, tmp_path, "archive", parked_first=True)
    with monkeypatch.context() as patched:
        patched.setattr(archive_module, "_duckdb", lambda: None)
        assert "that cannot be read: DuckDB, which" in await found.retry()
        assert await found.scene.fetch("SELECT sqlstate, reason FROM dead_letter") == [("23514", "mine")]
        assert (await found.scene.audit()).differences == []
        later = "UPDATE meter_current SET timestamp = timestamp + interval '1 s' WHERE meter_id = 'meter-0'"
        await found.scene.execute(later)
        assert await found.retry() == ""


async def test_a_day_that_leaves_history_meanwhile_is_looked_at_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_duckdb()
    scene = ArchiveScene(database_url, tmp_path)
    await scene.begin()
    found = Gone(scene)
    await found.park()
    await scene.store(METER)
    await scene.execute(PARKED)
    look = dead_letters._left_history
    looks = 0

    async def and_it_leaves(*given: Any) -> Any:
        nonlocal looks
        left = await look(*given)
        looks += 1
        await scene.until_archived()
        return left

    monkeypatch.setattr(dead_letters, "_left_history", and_it_leaves)
    assert await found.retry() == ""
    assert looks == 2
    assert await found.state() == 19 / 16
    await scene.until_archived()
    assert (await scene.audit()).differences == []
