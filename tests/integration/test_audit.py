"""The audit of what a real flush and a real journal leave behind: balanced, and each damage found and placed."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from hseie import audit as audit_module
from hseie import database, migrations
from hseie.audit import audit, read_journals
from hseie.books import Audit, Journals
from hseie.writer.journal import journal_path
from tests.integration.test_writer_commit import Shard, meter, query

EARLIER, DAY, LATER = "2026-11-19", "2026-11-20", "2026-11-21"


@pytest.fixture
async def shard(tmp_path: Path, database_url: str) -> AsyncIterator[Shard]:
    """A journal with frames of three kinds: forgotten, committed and waiting; a dead letter, a re-send, three days."""
    shard = await Shard(journal_path(tmp_path, 0, 1), database_url).open()
    await query(database_url, "ALTER TABLE meter_history ADD CHECK (kwh_consumed_ac <> 13)")
    async with shard.running():
        await shard.receive(meter("A", 1), meter("A", 2, day=LATER), meter("B", 3), meter("A", 1), duplicates=[3])
        forgotten = await shard.receive(meter("A", 4), meter("C", 4, 13), meter("A", 5, day=EARLIER))
        await shard.until_committed(forgotten)
        last = await shard.receive(meter("B", 6), meter("B", 6), duplicates=[1])
        await shard.until_committed(last)
        await shard.journal.prune(forgotten)
    await shard.receive(meter("A", 7), meter("A", 8))
    yield shard
    await shard.journal.close()


def folder(shard: Shard) -> Path:
    return shard.path.parent


async def audited(shard: Shard, look: Callable[[Mapping[str, int]], Journals] | None = None) -> Audit:
    find = look or partial(read_journals, folder(shard), 1)
    return await database.with_connection(shard.url, "tests", lambda connection: audit(connection, find))


async def test_what_was_acknowledged_is_where_it_should_be(shard: Shard) -> None:
    found = await audited(shard)
    assert (found.differences, found.notes) == ([], [])
    of_meters = found.kinds["meter"]
    assert (of_meters.acknowledged, of_meters.received, of_meters.in_flight) == (11, 9, 2)
    assert (of_meters.stored, of_meters.duplicates, of_meters.dead_lettered) == (6, 2, 1)
    days = [(day.day, day.partition, day.stored, day.rows) for day in found.days]
    assert days == [
        (EARLIER, "meter_history_2026_11_19", 1, 1),
        (DAY, "meter_history_2026_11_20", 4, 4),
        (LATER, "meter_history_2026_11_21", 1, 1),
    ]
    [journal] = found.journals
    assert (journal.acknowledged, journal.in_flight) == ({"meter": 11, "vehicle": 0}, {"meter": 2, "vehicle": 0})
    assert (journal.file, journal.last_seq) == (shard.path.name, shard.journal.last_seq)


async def test_the_same_with_the_node_down(shard: Shard) -> None:
    await shard.journal.close()
    found = await audited(shard)
    assert (found.differences, found.kinds["meter"].in_flight) == ([], 2)
    await shard.open()


ROW = "SELECT ctid FROM meter_history WHERE meter_id = 'A' AND \"timestamp\" = '2026-11-20T12:00:04Z'"
COLUMNS = '"timestamp", meter_id, kwh_consumed_ac, voltage'


@pytest.mark.parametrize(
    ("damage", "places"),
    [
        (
            [f"DELETE FROM meter_history WHERE ctid IN ({ROW}) AND tableoid = 'meter_history_2026_11_20'::regclass"],
            ["meter_history_2026_11_20 has 3 rows, the books say 4 of 2026-11-20 were stored"],
        ),
        (
            [
                f"INSERT INTO meter_history ({COLUMNS}) SELECT {COLUMNS} FROM meter_history "
                "WHERE meter_id = 'A' AND \"timestamp\" = '2026-11-20T12:00:04Z'"
            ],
            ["meter_history_2026_11_20 has 5 rows, the books say 4 of 2026-11-20 were stored"],
        ),
        (
            [
                'UPDATE meter_history SET "timestamp" = "timestamp" - interval \'1 day\' '
                "WHERE meter_id = 'A' AND \"timestamp\" = '2026-11-20T12:00:04Z'"
            ],
            [
                "meter_history_2026_11_19 has 2 rows, the books say 1",
                "meter_history_2026_11_20 has 3 rows, the books say 4",
            ],
        ),
        (
            ["UPDATE shard_book SET received = received + 1, duplicates = duplicates + 1 WHERE kind = 'meter'"],
            [
                "had 9 meter readings up to its checkpoint, its book says 10 were received",
                "had 2 meter re-sends up to its checkpoint, its book says 3 duplicates",
            ],
        ),
        (
            ["UPDATE shard_book SET received = received + 1 WHERE kind = 'meter'"],
            ["its book says 10 were received", "the book of shard 0 of 1, meter: received 10 is not stored 6"],
        ),
        (
            ["UPDATE shard_book SET received = received + 1, stored = stored + 1 WHERE kind = 'vehicle'"],
            [
                "had 0 vehicle readings up to its checkpoint, its book says 1",
                "the book of shard 0 of 1, vehicle: stored 1 is not what its days add up to, 0",
            ],
        ),
        (
            ["UPDATE day_book SET stored = stored - 1 WHERE day = '2026-11-21'"],
            [
                "the book of shard 0 of 1, meter: stored 6 is not what its days add up to, 5",
                "meter_history_2026_11_21 has 1 rows, the books say 0",
            ],
        ),
        (
            ["DELETE FROM dead_letter"],
            ["dead_letter has 0 rows of kind meter, the books say 1 were parked (shard 0 of 1"],
        ),
        (
            ["UPDATE meter_current SET kwh_consumed_ac = 9 WHERE meter_id = 'B'"],
            ["meter_current differs from the newest reading for 1 devices, for example B"],
        ),
        (
            ["ALTER TABLE meter_history DETACH PARTITION meter_history_2026_11_19"],
            ["meter_history_2026_11_19 has 0 rows, the books say 1 of 2026-11-19 were stored"],
        ),
        # The checkpoint runs ahead of what was stored: what it skipped would never be flushed.
        (
            ["UPDATE shard_checkpoint SET last_seq = last_seq + 1"],
            ["had 11 meter readings up to its checkpoint, its book says 9 were received"],
        ),
        (
            ["UPDATE shard_checkpoint SET last_seq = last_seq + 7"],
            ["(shard-0000-of-0001.sqlite): PostgreSQL has frames up to"],
        ),
        (
            ["UPDATE shard_checkpoint SET owner = gen_random_uuid()"],
            ["another copy of it was flushed into this PostgreSQL"],
        ),
        (["UPDATE shard_checkpoint SET last_seq = last_seq - 2"], ["restored from an older backup"]),
    ],
)
async def test_damage_in_postgresql_is_found_and_placed(
    shard: Shard, damage: list[str], places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_PAUSE_S", 0.0)
    for statement in damage:
        await query(shard.url, statement)
    found = await audited(shard)
    assert len(found.differences) == len(places), found.differences
    for place, difference in zip(places, found.differences, strict=True):
        assert place in difference


async def test_a_frame_that_the_journal_has_lost_is_found_and_placed(shard: Shard) -> None:
    first, last = shard.journal.oldest_seq, shard.journal.last_seq
    assert last == first + 1
    direct = sqlite3.connect(shard.path, isolation_level=None)
    direct.execute("DELETE FROM frame WHERE seq = ?", (first,))
    direct.close()
    of_shard = "the journal of shard 0 of 1 (shard-0000-of-0001.sqlite)"
    assert (await audited(shard)).differences == [
        f"{of_shard}: the frames {first} to {first} are missing",
        f"{of_shard} had 7 meter readings up to its checkpoint, its book says 9 were received",
        f"{of_shard} had 1 meter re-sends up to its checkpoint, its book says 2 duplicates",
    ]


async def test_a_journal_that_is_not_here_leaves_open_what_is_in_flight(shard: Shard, tmp_path: Path) -> None:
    for look, note in (
        (partial(read_journals, tmp_path / "elsewhere", 1), "the journal of shard 0 of 1 is not in"),
        (partial(read_journals, folder(shard), 2), "the journal of shard 0 of 2 is not in"),
    ):
        found = await audited(shard, look)
        assert (found.balanced, found.kinds["meter"].in_flight) == (True, None)
        assert note in found.notes[0]
    assert not (tmp_path / "elsewhere").exists()


async def test_a_journal_that_cannot_be_read_is_a_difference(shard: Shard) -> None:
    journal_path(folder(shard), 0, 3).write_bytes(b"no journal at all, but long enough to be taken for one" * 100)
    found = await audited(shard)
    assert found.kinds["meter"].in_flight is None
    assert "shard-0000-of-0003.sqlite cannot be read as a journal" in found.differences[0]


async def test_a_journal_that_was_pruned_between_the_two_readings_is_read_again(shard: Shard) -> None:
    looks = 0

    def look(committed: Mapping[str, int]) -> Journals:
        nonlocal looks
        looks += 1
        found = read_journals(folder(shard), 1, committed)
        if looks == 1:  # as if a flush and a pruning had come between the checkpoint and this
            ahead = dict.fromkeys(committed, 0)
            [file] = read_journals(folder(shard), 1, ahead).files
            object.__setattr__(file, "pruned_seq", file.last_seq)
            return Journals((file,))
        return found

    assert (await audited(shard, look)).differences == []
    assert looks == 2


async def test_another_postgresql_is_told_apart(shard: Shard, postgres_server_url: str, template_database: str) -> None:
    """A journal that has forgotten frames, before a database that never saw them: wrong, and then not comparable."""
    name = f"hseie_test_{uuid4().hex}"
    await query(postgres_server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    try:
        shard.url = f"{postgres_server_url.rpartition('/')[0]}/{name}"
        found = await audited(shard)
        assert "this PostgreSQL does not know it: is postgres.url the right one?" in found.differences[0]
        await shard.journal.close()
        again = await shard.open()
        async with again.running():
            await again.until_committed(await again.receive(meter("A", 9)))
        found = await audited(shard)
        assert found.differences == []
        assert f"was given it from frame {again.journal.oldest_seq} on only" in found.notes[0]
    finally:
        await query(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_frames_that_a_restored_postgresql_lacks_are_missed_for_good(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runbook calls `frames_missing`: the writer goes on, the audit does not forget."""
    monkeypatch.setattr(audit_module, "_PAUSE_S", 0.0)
    [(journal_id,)] = await query(shard.url, "SELECT journal_id FROM shard_checkpoint")
    # As a backup knows it from before anything was stored.
    for statement in (
        "UPDATE shard_checkpoint SET last_seq = first_seq - 1",
        "UPDATE shard_book SET received = 0, stored = 0, duplicates = 0, dead_lettered = 0",
        "DELETE FROM day_book", "DELETE FROM dead_letter", "DELETE FROM meter_history", "DELETE FROM meter_current",
    ):  # fmt: skip
        await query(shard.url, statement)
    assert "restored from an older backup" in (await audited(shard)).differences[0]
    await shard.journal.close()
    again = await shard.open()
    async with again.running():
        await again.until_committed(await again.receive(meter("A", 9)))
    [difference] = [text for text in (await audited(shard)).differences if "readings" in text]
    assert "had 12 meter readings up to its checkpoint, its book says 5 were received" in difference
    assert journal_id == again.journal.identity.journal_id


async def test_flushes_into_a_database_of_before_the_day_books_balance(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration on a database with readings in it, and a journal that was pruned before it counted."""
    down = (
        "DROP TABLE day_book",
        "ALTER TABLE shard_book DROP COLUMN stored_undated",
        "ALTER TABLE shard_checkpoint DROP COLUMN begun_after",
        "DELETE FROM schema_migration WHERE number = 4",
    )
    shard = await Shard(journal_path(tmp_path, 0, 1), database_url).open()
    async with shard.running():
        await shard.receive(meter("A", 1), meter("A", 2, day=LATER))
        seq = await shard.receive(meter("B", 3))
        await shard.until_committed(seq)
        await shard.journal.prune(seq - 1)
    await shard.journal.close()
    direct = sqlite3.connect(shard.path, isolation_level=None)
    direct.execute("DELETE FROM meta WHERE key = 'pruned_counts'")
    direct.close()
    for statement in down:
        await query(database_url, statement)
    await database.with_connection(database_url, "tests", migrations.migrate)
    again = await shard.open()
    async with again.running():
        await again.until_committed(await again.receive(meter("A", 4), meter("A", 5, day=EARLIER)))
    found = await audited(again)
    assert found.differences == []
    assert [(day.day, day.stored) for day in found.days] == [(EARLIER, 1), (DAY, 3), (LATER, 1)]
    assert (found.books[0].stored, found.books[0].stored_undated) == (5, 3)
    assert "pruned before its counts were kept" in found.notes[0]
    await again.journal.close()
