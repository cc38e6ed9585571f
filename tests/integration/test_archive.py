"""Old days leave history for the archive, or for good, and nothing is lost whatever comes between."""

import asyncio
import os
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from hseie import archive as module
from hseie import archive_look, database
from hseie.analytics.fleet import FleetRoute
from hseie.analytics.reader import Reader
from hseie.archive_export import bounds
from hseie.archive_look import check_at_start, look
from hseie.archive_restore import restore
from hseie.audit import audit
from hseie.books import Journals
from hseie.config_load import load
from hseie.errors import ArchiveUnavailableError
from hseie.maintenance import archive as maintenance_archive
from hseie.maintenance import archive_drop
from hseie.maintenance.archive import RETRY_S
from hseie.readings import METER, VEHICLE
from tests.conftest import database_at, execute
from tests.integration.archive_scene import DAY, NOW, STORE, ArchiveScene, needs_duckdb

NEXT = DAY + timedelta(days=1)
HOLDERS = (
    "FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
METERS = f"meter_history_{DAY:%Y_%m_%d}"


@pytest.fixture
async def scene(database_url: str, tmp_path: Path) -> ArchiveScene:
    needs_duckdb()
    made = ArchiveScene(database_url, tmp_path)
    await made.begin()
    return made


def files(scene: ArchiveScene) -> list[str]:
    """All that is in the folder, but for what says whose it is."""
    found = sorted(str(path.relative_to(scene.folder)) for path in scene.folder.rglob("*") if path.is_file())
    return [file for file in found if file != "archive.id"]


async def test_an_old_day_goes_to_a_file_and_young_ones_stay(scene: ArchiveScene) -> None:
    young = NOW.date() - timedelta(days=35)
    for kind in (METER, VEHICLE):
        await scene.store(kind)
        await scene.store(kind, NEXT, devices=2)
        await scene.store(kind, young)
    with capture_logs() as logs:
        await scene.until_archived()
    assert await scene.partitions() == {f"{kind}_history_{young:%Y_%m_%d}" for kind in ("meter", "vehicle")}
    for kind in (METER, VEHICLE):
        assert await scene.states(kind) == [(1, "archived", 60)]
        assert await scene.states(kind, NEXT) == [(1, "archived", 40)]
    assert files(scene) == [f"{kind}/{day}/part-1.parquet" for kind in ("meter", "vehicle") for day in (DAY, NEXT)]
    assert Counter(log["event"] for log in logs) == {"day_written": 4, "day_archived": 4}
    figures = scene.duty.report()
    assert (figures["archive_parts"], figures["archive_readings"], figures["archive_trouble"]) == (4, 200, "")
    assert figures["archive_bytes"] == sum((scene.folder / file).stat().st_size for file in files(scene))
    await scene.prove()


async def test_how_a_database_writes_dates_makes_no_difference(scene: ArchiveScene) -> None:
    name = scene.url.rpartition("/")[2]
    await scene.execute(f"ALTER DATABASE \"{name}\" SET datestyle = 'SQL, DMY'")
    await scene.store(METER)
    await scene.until_archived()
    await scene.prove()


async def test_zero_days_keep_everything(scene: ArchiveScene) -> None:
    await scene.store(METER)
    forever = ArchiveScene(scene.url, scene.folder.parent, retention__raw_days=0)
    assert await forever.round() == forever.duty.interval_s
    assert (await scene.partitions(), files(scene)) == ({METERS}, [])


@pytest.mark.parametrize("then", ["archive", "drop"])
async def test_a_clock_that_is_ahead_takes_no_day_that_is_not_old(database_url: str, tmp_path: Path, then: str) -> None:
    needs_duckdb()
    scene = ArchiveScene(database_url, tmp_path, retention__then=then)
    await scene.begin(newer=False)
    days = [NOW.date() - timedelta(days=days) for days in (0, 1, 35)]
    for day in days:
        await scene.store(METER, day)
    await scene.store(METER, DAY)
    await scene.execute("SELECT hseie_make_partition('vehicle', $1)", days[0])
    wrong = NOW + timedelta(days=365)
    with capture_logs() as logs:
        for _ in range(8):
            await scene.round(now=wrong)
    # What is old by the devices' clocks has gone, and the day without any reading: neither needs ours.
    assert await scene.partitions() == {f"meter_history_{day:%Y_%m_%d}" for day in days}
    assert scene.duty.report()["archive_trouble"] == "clock"
    assert [log["trouble"] for log in logs if log["event"] == "archive_held_up"] == ["clock"]
    await scene.round(now=NOW)
    assert scene.duty.report()["archive_trouble"] == ""
    # The current states are not there: nothing says that anything is old.
    await scene.store(METER, DAY - timedelta(days=1))
    await scene.execute("DELETE FROM meter_current")
    await scene.a_day_later()
    await scene.round()
    assert f"meter_history_{DAY - timedelta(days=1):%Y_%m_%d}" in await scene.partitions()
    assert scene.duty.report()["archive_trouble"] == "clock"


async def test_a_written_day_stays_in_history_as_long_as_a_query_may_need_it(scene: ArchiveScene) -> None:
    await scene.store(METER)
    patient = scene.new_duty(grace_s=100)
    await scene.round(patient)
    assert 90 < await scene.round(patient) <= 100
    assert await scene.states() == [(1, "written", 60)]
    assert await scene.partitions() == {METERS}
    assert patient.report()["archive_days_waiting"] == 1
    await scene.prove()
    await scene.execute("UPDATE archive_part SET changed_at = changed_at - interval '101 seconds'")
    await scene.round(patient)
    assert await scene.states() == [(1, "archived", 60)]
    await scene.prove()


def test_the_grace_is_longer_than_a_question_of_several_statements(tmp_path: Path) -> None:
    scene = ArchiveScene("postgresql://nowhere/", tmp_path, analytics__statement_timeout_ms=2000)
    assert type(scene.duty)(None, scene.config).grace_s == 16.0


async def test_what_comes_between_writing_and_dropping_is_not_lost(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    await scene.prove()
    await scene.until_archived()
    assert await scene.states() == [(2, "archived", 62)]
    assert files(scene) == [f"meter/{DAY}/part-2.parquet"]  # what the first one was is swept away
    await scene.prove()


async def test_what_comes_for_an_archived_day_becomes_the_next_part(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.until_archived()
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    await scene.prove()
    await scene.a_day_later()
    await scene.until_archived()
    assert await scene.states() == [(1, "archived", 60), (2, "archived", 2)]
    assert await scene.partitions() == set()
    await scene.prove()


async def test_late_readings_make_a_part_a_day_and_not_one_each(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.until_archived()
    for number in range(1, 6):
        await scene.store(METER, offset_s=number, devices=1, readings=1)
        await scene.round()
        await scene.prove()
    # They are not behind: nothing waits for somebody to see to it.
    assert scene.duty.report()["archive_days_waiting"] == 0
    assert (await scene.states(), await scene.partitions()) == ([(1, "archived", 60)], {METERS})
    await scene.a_day_later()
    await scene.until_archived()
    assert (await scene.states(), await scene.partitions()) == ([(1, "archived", 60), (2, "archived", 5)], set())
    await scene.prove()


async def test_a_flush_that_has_not_ended_is_waited_for_and_its_rows_are_found(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    writer = await database.connect(scene.url, "writer", 10)
    transaction = writer.transaction()
    await transaction.start()
    await scene.store_within(writer, METER, DAY, devices=1, readings=1, offset_s=7)
    # The day books do not tell of it yet.
    assert await scene.round() == RETRY_S
    assert await scene.partitions() == {METERS}
    await transaction.commit()
    await database.close(writer)
    await scene.until_archived()
    assert await scene.states() == [(2, "archived", 61)]
    await scene.prove()


async def test_writers_are_kept_out_of_a_day_from_its_counting_to_its_drop(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    await scene.store(METER, NOW.date())
    await scene.round()
    rolled_up = archive_drop.rolled_up
    outcomes: list[str] = []

    async def with_a_writer(connection: Any, old: Any) -> bool:
        writer = await database.connect(scene.url, "writer", 10, {"lock_timeout": "100"})
        for day in (old.day, NOW.date()):
            try:
                async with writer.transaction():
                    await scene.store_within(writer, METER, day, devices=1, readings=1, offset_s=7)
            except database.PostgresError as error:
                outcomes.append(database.classify(error).name)
            else:
                outcomes.append("stored")
        await database.close(writer)
        return await rolled_up(connection, old)

    monkeypatch.setattr(archive_drop, "rolled_up", with_a_writer)
    await scene.round()
    assert outcomes == ["RETRY", "stored"]  # those of other days go on
    assert await scene.states() == [(1, "archived", 60)]
    await scene.prove()


async def test_a_long_reader_puts_off_the_drop_and_nobody_waits_for_long_behind_it(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.store(METER, NOW.date())
    await scene.round()
    reader = await database.connect(scene.url, "reader", 10)
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT count(*) FROM meter_history")
    dropping = asyncio.create_task(scene.round())
    while not await scene.fetch("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"):
        await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await scene.store(METER, NOW.date(), offset_s=7)  # of today: waits no longer than the archiver
    assert await dropping == RETRY_S
    await transaction.rollback()
    await database.close(reader)
    await scene.until_archived()
    await scene.prove()


async def test_rows_that_no_book_tells_of_are_not_dropped_either(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    moment = datetime(2026, 2, 8, 23, 59, 59, tzinfo=UTC)
    await scene.execute(STORE[METER], moment, "meter-0", 1)
    scene.stored["meter", "meter-0", moment, 1] += 1
    await scene.until_archived()
    assert await scene.states() == [(2, "archived", 61)]
    assert await scene.everything() == scene.stored


async def test_a_file_that_is_damaged_before_the_drop_is_written_anew(scene: ArchiveScene) -> None:
    await scene.store(METER)
    for damage in ("flip", "remove"):
        await scene.round()
        [(part, state, _)] = await scene.states()
        file = scene.folder / f"meter/{DAY}/part-{part}.parquet"
        if damage == "flip":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        else:
            file.unlink()
        with capture_logs() as logs:
            await scene.round()
        assert (state, logs[0]["event"], logs[0]["trouble"]) == ("written", "archive_held_up", "damaged")
        assert file.name in logs[0]["reason"]
        assert await scene.partitions() == {METERS}
        assert await scene.states() == []
    await scene.until_archived()
    await scene.prove()


async def test_a_file_that_says_something_else_than_history_is_never_named(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    write = scene.duty.archive.write

    async def lossy(kind: Any, source: Path, target: Path) -> None:
        await write(kind, source, target.with_suffix(".whole"))
        rows = f"SELECT * FROM read_parquet('{target.with_suffix('.whole')}') LIMIT 59"
        copy = f"COPY ({rows}) TO '{target}' (FORMAT parquet)"
        await scene.duty.archive._in_thread(lambda connection, _: connection.execute(copy))

    monkeypatch.setattr(scene.duty.archive, "write", lossy)
    await scene.round()
    figures = scene.duty.report()
    assert figures["archive_trouble"] == "folder"
    assert "does not hold what history does" in figures["archive_trouble_reason"]
    assert (await scene.states(), await scene.partitions()) == ([], {METERS})
    monkeypatch.undo()
    await scene.until_archived()
    await scene.prove()


async def test_a_day_without_readings_leaves_no_file(scene: ArchiveScene) -> None:
    await scene.execute("SELECT hseie_make_partition('vehicle', $1)", DAY)
    await scene.until_archived()
    assert (await scene.partitions(), await scene.states(VEHICLE), files(scene)) == (set(), [], [])


@pytest.mark.parametrize("then", ["archive", "drop"])
async def test_a_day_stays_until_its_rollups_are_made(database_url: str, tmp_path: Path, then: str) -> None:
    needs_duckdb()
    scene = ArchiveScene(database_url, tmp_path, retention__then=then)
    midnight = datetime(2026, 2, 9, tzinfo=UTC)
    await scene.begin(rolled_until=midnight)  # pairs need it for the hour after it
    await scene.store(METER)
    assert await scene.round() == scene.duty.interval_s
    assert scene.duty.report()["archive_trouble"] == "rollups_behind"
    await scene.execute("UPDATE rollup_state SET closed_until = $1, rolled_until = $1", midnight + timedelta(hours=1))
    mark = "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meter', 'meter-0', $1)"
    for hours in (-26, -25, 0, 1, -13):  # two hours before the day, two after it, one in it
        await scene.execute("DELETE FROM rollup_mark")
        await scene.execute(mark, midnight + timedelta(hours=hours))
        await scene.round()
        assert (await scene.partitions(), await scene.states()) == ({METERS}, [])
    await scene.execute("DELETE FROM rollup_mark")
    await scene.round()
    assert scene.duty.report()["archive_trouble"] == ""
    if then == "archive":
        # What is marked once the day is written holds up the drop.
        await scene.execute(mark, midnight - timedelta(hours=2))
        await scene.round()
        assert (await scene.partitions(), await scene.states()) == ({METERS}, [(1, "written", 60)])
        await scene.execute("DELETE FROM rollup_mark")
        await scene.until_archived()
    assert await scene.partitions() == set()


async def test_a_mark_that_comes_while_a_day_is_about_to_be_dropped_keeps_it(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    await scene.round()
    looked: list[bool] = []
    rolled_up = archive_drop.rolled_up

    async def marked_meanwhile(connection: Any, old: Any) -> bool:
        looked.append(await rolled_up(connection, old))
        return False

    monkeypatch.setattr(archive_drop, "rolled_up", marked_meanwhile)
    await scene.round()
    assert looked == [True]
    assert (await scene.partitions(), await scene.states()) == ({METERS}, [(1, "written", 60)])


async def test_a_day_may_be_dropped_for_good(database_url: str, tmp_path: Path) -> None:
    start, _ = bounds(DAY)
    scene = ArchiveScene(database_url, tmp_path, retention__then="drop")
    await scene.begin()
    await scene.store(METER)
    await scene.store(VEHICLE, NOW.date())
    await scene.until_archived()
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    await scene.a_day_later()
    await scene.until_archived()
    assert await scene.states() == [(1, "dropped", 60), (2, "dropped", 2)]
    assert await scene.partitions() == {f"vehicle_history_{NOW:%Y_%m_%d}"}
    assert not scene.folder.exists()
    assert scene.duty.report()["archive_dropped"] == 62
    found = await scene.audit()
    assert (found.differences, found.kinds["meter"].archived) == ([], 62)
    # What a register showed last is what its next reading is compared with; what came late was no later.
    kept = await scene.fetch('SELECT meter_id, "timestamp" - $1, kwh_consumed_ac FROM meter_given_up ORDER BY 1', start)
    assert [tuple(row) for row in kept] == [
        (f"meter-{device}", timedelta(minutes=19), Decimal("1.1875")) for device in range(3)
    ]


async def test_a_written_day_keeps_its_file_when_days_are_dropped_from_now_on(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    dropping = ArchiveScene(scene.url, scene.folder.parent, retention__then="drop")
    await dropping.until_archived()
    assert await scene.states() == [(1, "archived", 60), (2, "dropped", 2)]
    assert (await scene.audit()).differences == []


async def test_a_damaged_file_is_not_what_is_left_of_a_day_that_is_given_up(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    (scene.folder / f"meter/{DAY}/part-1.parquet").write_bytes(b"broken")
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    dropping = ArchiveScene(scene.url, scene.folder.parent, retention__then="drop")
    await dropping.round()
    assert dropping.duty.report()["archive_trouble"] == "damaged"
    assert (await scene.states(), await scene.partitions()) == ([], {METERS})
    await dropping.until_archived()
    assert await scene.states() == [(1, "dropped", 62)]
    assert (await scene.audit()).differences == []


async def test_a_day_that_is_given_up_leaves_no_file_that_was_written_anew(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.round()
    await scene.store(METER, offset_s=7, devices=1, readings=2)
    await scene.round()
    await scene.store(METER, offset_s=9, devices=1, readings=1)
    dropping = ArchiveScene(scene.url, scene.folder.parent, retention__then="drop")
    await dropping.until_archived()
    assert await scene.states() == [(2, "archived", 62), (3, "dropped", 1)]
    assert files(scene) == [f"meter/{DAY}/part-2.parquet"]


async def test_without_duckdb_days_stay_and_that_is_said_once(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    monkeypatch.setattr(module, "_duckdb", lambda: None)
    with capture_logs() as logs:
        for _ in range(3):
            assert await scene.round() == scene.duty.interval_s
    assert [(log["event"], log["trouble"]) for log in logs] == [("archive_held_up", "no_duckdb")]
    assert "retention.then" in logs[0]["advice"]
    assert scene.duty.report()["archive_days_waiting"] == 1
    assert await scene.partitions() == {METERS}
    monkeypatch.undo()
    await scene.until_archived()
    await scene.prove()


async def test_a_folder_that_cannot_be_written_is_said_once_and_tried_again(scene: ArchiveScene) -> None:
    await scene.store(METER)
    scene.folder.write_text("not a folder")
    with capture_logs() as logs:
        for _ in range(3):
            assert await scene.round() == scene.duty.interval_s
    assert [(log["event"], log["trouble"]) for log in logs] == [("archive_held_up", "folder")]
    assert str(scene.folder) in logs[0]["reason"]
    assert await scene.partitions() == {METERS}
    scene.folder.unlink()
    with capture_logs() as logs:
        await scene.until_archived()
    assert "archive_goes_on" in [log["event"] for log in logs]
    await scene.prove()


async def test_an_export_that_does_not_end_is_cut_off_and_tried_again(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    cancelled = asyncio.Event()

    async def endless(kind: Any, source: Path, target: Path) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(maintenance_archive, "EXPORT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(scene.duty.archive, "write", endless)
    with pytest.raises(TimeoutError):
        await scene.round()
    assert cancelled.is_set()
    assert (await scene.states(), await scene.partitions()) == ([], {METERS})
    monkeypatch.undo()
    await scene.until_archived()
    await scene.prove()


@pytest.mark.parametrize("bad", ["no number", "no folder"])
async def test_a_day_that_fails_is_not_in_the_way_of_others(scene: ArchiveScene, bad: str) -> None:
    await scene.store(METER)
    await scene.store(METER, NEXT)
    await scene.store(VEHICLE, NEXT)
    values = "UPDATE meter_history SET voltage = $1 WHERE timestamp < $2"
    if bad == "no number":
        await scene.execute(values, Decimal("NaN"), datetime(2026, 2, 9, tzinfo=UTC))
    else:
        (scene.folder / "meter").mkdir(parents=True)
        (scene.folder / f"meter/{DAY}").write_text("not a folder")
    for _ in range(8):
        await scene.round()
    assert [await scene.states(kind, NEXT) for kind in (METER, VEHICLE)] == [[(1, "archived", 60)]] * 2
    assert (await scene.partitions(), await scene.states()) == ({METERS}, [])
    figures = scene.duty.report()
    assert (figures["archive_trouble"], figures["archive_days_waiting"]) == ("day", 1)
    assert f"meter {DAY}: " in figures["archive_trouble_reason"]
    if bad == "no number":
        await scene.execute(values, Decimal("230.5"), datetime(2026, 2, 9, tzinfo=UTC))
    else:
        (scene.folder / f"meter/{DAY}").unlink()
    await scene.until_archived()
    assert scene.duty.report()["archive_trouble"] == ""
    await scene.prove()


async def test_one_at_a_time_changes_the_archive(scene: ArchiveScene) -> None:
    await scene.store(METER)
    other = await database.connect(scene.url, "another maintenance", 10)
    assert await other.fetchval(database.statement("archive_lock"))
    assert await scene.round() == scene.duty.interval_s
    assert await scene.states() == []
    await database.close(other)
    await scene.until_archived()
    await scene.prove()


async def test_what_a_killed_archiver_left_is_taken_away(scene: ArchiveScene) -> None:
    await scene.store(METER)
    folder = scene.folder / "meter" / str(DAY)
    folder.mkdir(parents=True)
    (folder / "part-1.0123.writing").write_bytes(b"half")
    (folder / "part-3.parquet").write_bytes(b"named, and nobody was told")
    (folder / "part-2.parquet").write_bytes(b"nobody knows whose")
    (folder / "notes.txt").write_text("an operator's")
    await scene.execute(database.statement("archive_not_named"), f"meter/{DAY}/part-3.parquet", "meter", DAY)
    await scene.round()
    kept = ["notes.txt", "part-2.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == [*kept, "part-3.parquet", "part-4.parquet"]
    await scene.until_archived()
    assert sorted(path.name for path in folder.iterdir()) == [*kept, "part-4.parquet"]
    assert await scene.fetch("SELECT FROM archive_unnamed") == []
    await scene.prove()


async def test_one_who_was_stopped_sweeps_nothing_of_the_one_who_came_after_him(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER)
    await scene.round()
    stopped = scene.new_duty()
    damage = stopped._damage

    async def meanwhile(old: Any) -> str:
        found = await damage(old)
        # The server gives his connection up, and with it the lock.
        await scene.fetch(f"SELECT pg_terminate_backend(pid) {HOLDERS}")
        while await scene.fetch(f"SELECT {HOLDERS}"):
            await asyncio.sleep(0.01)
        await scene.store(METER, offset_s=7, devices=1, readings=2)
        await scene.until_archived()
        return found

    monkeypatch.setattr(stopped, "_damage", meanwhile)
    with pytest.raises(database.DATABASE_ERRORS):
        await scene.round(stopped)
    assert await scene.states() == [(2, "archived", 62)]
    await scene.prove()


async def test_a_copy_of_the_database_takes_nothing_away_from_the_archive_of_both(
    scene: ArchiveScene, postgres_server_url: str
) -> None:
    await scene.store(METER)
    await scene.until_archived()
    await scene.store(VEHICLE)
    name = f"hseie_copy_{uuid4().hex}"
    original = scene.url.rsplit("/", 1)[1]
    await execute(postgres_server_url, f'CREATE DATABASE "{name}" TEMPLATE "{original}"')
    try:
        await scene.until_archived()
        copy = ArchiveScene(database_at(postgres_server_url, name), scene.folder.parent)
        copy.journal, copy.stored = scene.journal, scene.stored.copy()
        # What was written before it was made is the original's, and so is what was written since.
        await database.with_connection(
            copy.url, "copy", lambda connection: restore(connection, copy.duty.archive, METER, DAY, NOW)
        )
        await copy.store(METER, offset_s=7, devices=1, readings=2)
        await copy.until_archived()
        assert await copy.states(METER) == [(2, "archived", 62)]
        assert await copy.states(VEHICLE) == [(2, "archived", 60)]
        assert files(scene) == [f"{kind}/{DAY}/part-{part}.parquet" for kind in ("meter", "vehicle") for part in (1, 2)]
        await scene.prove()
        await copy.prove()
        await copy.duty.archive.close()
    finally:
        await execute(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize("then", ["archive", "drop"])
async def test_the_archive_of_another_database_is_left_alone(scene: ArchiveScene, then: str) -> None:
    await scene.store(METER)
    await scene.round()
    before = files(scene)
    ours = (scene.folder / "archive.id").read_text()
    (scene.folder / "archive.id").write_text("another\n")
    await scene.store(METER, NEXT)
    other = ArchiveScene(scene.url, scene.folder.parent, retention__then=then)
    assert await other.round() == other.duty.interval_s  # neither dropped nor written
    assert (await scene.states(), files(scene)) == ([(1, "written", 60)], before)
    figures = other.duty.report()
    assert figures["archive_trouble"] == "folder"
    assert "of another database, another" in figures["archive_trouble_reason"]
    assert ours.strip() in figures["archive_trouble_reason"]
    (scene.folder / "archive.id").write_text(ours)
    await scene.until_archived()
    await scene.prove()


async def test_a_folder_that_is_not_mounted_is_not_made_anew(scene: ArchiveScene) -> None:
    await scene.store(METER)
    await scene.until_archived()
    scene.folder.rename(scene.folder.parent / "disk")
    await scene.store(METER, NEXT)
    for mount_point in (False, True):
        if mount_point:
            scene.folder.mkdir()
        assert await scene.round() == scene.duty.interval_s
        assert scene.duty.report()["archive_trouble"] == "folder"
        assert "archive.id is missing" in scene.duty.report()["archive_trouble_reason"]
        assert await scene.states(METER, NEXT) == []
        assert scene.folder.exists() == mount_point
        assert files(scene) == []
    scene.folder.rmdir()
    (scene.folder.parent / "disk").rename(scene.folder)
    await scene.until_archived()
    await scene.prove()


@pytest.mark.parametrize("wrong", ["a file", "another database's", "not writable", "not there", "in a file"])
async def test_a_folder_that_takes_no_day_is_told_before_one_wants_to_go_there(
    scene: ArchiveScene, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await scene.round() == scene.duty.interval_s
    assert scene.duty.report()["archive_trouble"] == ""  # the folder is not there, and will be made
    if wrong == "a file":
        scene.folder.touch()
    elif wrong == "another database's":
        scene.folder.mkdir()
        (scene.folder / "archive.id").write_text("another\n")
    elif wrong == "not writable":
        # For root everything is.
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != scene.folder.parent)
    elif wrong == "not there":
        await scene.execute(
            "INSERT INTO archive_part (kind, day, part, state, file, readings, booked)"
            " VALUES ('meter', '2026-02-08', 1, 'archived', 'meter/2026-02-08/part-1.parquet', 0, 0)"
        )
    else:
        (scene.folder.parent / "file").touch()
        scene.duty.archive.folder = scene.folder.parent / "file" / "archive"
    with capture_logs() as logs:
        for _ in range(3):
            assert await scene.round() == scene.duty.interval_s
    assert [(log["event"], log["trouble"]) for log in logs] == [("archive_held_up", "folder")]
    assert str(scene.duty.archive.folder) in scene.duty.report()["archive_trouble_reason"]
    assert scene.folder.exists() == (wrong in ("a file", "another database's"))


async def test_what_takes_no_day_ever_needs_no_folder(database_url: str, tmp_path: Path) -> None:
    for settings in ({"retention__raw_days": 0}, {"retention__then": "drop"}):
        scene = ArchiveScene(database_url, tmp_path, **settings)
        scene.folder.write_text("not a folder")
        await scene.round()
        assert scene.duty.report()["archive_trouble"] == ""


async def test_a_disk_that_does_not_answer_is_asked_by_one_thread_and_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    asked: list[Path] = []

    def hang(folder: Path, identity: str | None, used: bool) -> None:
        asked.append(folder)
        answers.wait()

    monkeypatch.setattr(archive_look, "_look", hang)
    monkeypatch.setattr(archive_look, "LOOK_S", 0.05)
    config = load(overrides={"node.data": str(tmp_path)}).config
    for _ in range(3):
        with pytest.raises(ArchiveUnavailableError, match="does not answer"):
            await look(config.archive_dir, None, used=False)
    await check_at_start(config)  # which it does not keep from starting
    assert asked == [config.archive_dir]
    answers.set()

    async def looked() -> None:
        while True:
            with suppress(ArchiveUnavailableError):
                return await look(config.archive_dir, None, used=False)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(looked(), 30)


async def test_the_audit_knows_devices_whose_readings_are_all_archived(scene: ArchiveScene) -> None:
    await scene.store(METER, devices=3)
    await scene.until_archived()
    assert (await scene.audit()).differences == []
    # A newer reading in history than the current state says is a difference as ever.
    await scene.store(METER, NEXT, devices=1)
    moment = datetime(2026, 2, 8, 1, tzinfo=UTC)
    await scene.execute("UPDATE meter_current SET timestamp = $1 WHERE meter_id = 'meter-0'", moment)
    [difference] = (await scene.audit()).differences
    assert "meter_current differs from the newest reading for 1 devices, for example meter-0" in difference


async def test_an_audit_sees_a_day_that_leaves_meanwhile_in_one_place(scene: ArchiveScene) -> None:
    await scene.store(VEHICLE)
    await scene.round()
    rounds: list[float] = []

    class Slow:
        """A connection; once an audit has asked it what is archived, the archiver has its next round."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        async def fetch(self, text: str, *values: Any) -> Any:
            found = await self._connection.fetch(text, *values)
            if text == database.statement("audit_archived"):
                rounds.append(await scene.round())
            return found

    found = await database.with_connection(
        scene.url, "scene", lambda connection: audit(Slow(connection), lambda _: Journals())
    )
    assert rounds == [RETRY_S]  # it would have dropped the day
    assert found.differences == []
    await scene.until_archived()
    await scene.prove()


async def test_the_oldest_reading_may_be_archived(scene: ArchiveScene) -> None:
    await scene.store(METER, offset_s=30)
    await scene.store(METER, NOW.date())
    await scene.until_archived()
    reader = await Reader.open(scene.config, scene.url, "tests", 2)
    try:
        fleet = FleetRoute(reader, scene.config, lambda: NOW, cast(Any, None), cast(Any, None))
        assert await fleet._read_oldest() == datetime(2026, 2, 8, 0, 0, 30, tzinfo=UTC)
    finally:
        await reader.close(1)


async def test_an_export_of_a_lost_connection_leaves_nothing_named(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.store(METER, readings=1440, devices=40)

    async def broken(kind: Any, source: Path, target: Path) -> None:
        raise ArchiveUnavailableError("no space left on device")

    monkeypatch.setattr(scene.duty.archive, "write", broken)
    assert await scene.round() == scene.duty.interval_s
    assert "no space left" in scene.duty.report()["archive_trouble_reason"]
    assert await scene.states() == []
    monkeypatch.undo()
    await scene.until_archived()
    await scene.prove()
