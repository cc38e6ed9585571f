"""A writer takes a connection over: cut off in the middle, on a slow server, where commits landed too late."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hseie.writer.flush import flush, flush_apart
from tests.integration.test_writer_commit import Shard, books, meter, query, stored

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hseie writer 0'"


async def open_impatient(path: Path, url: str) -> Shard:
    return await Shard(path, url, POSTGRES__FLUSH_TIMEOUT_MS="500").open()


def hang_in_the_claim(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let the next claim stand still behind its statements, as when the journal's thread hangs in a sync."""
    facts, asked = shard.journal.facts, 0

    async def hang() -> dict[str, str]:
        nonlocal asked
        asked += 1
        if asked == 2:  # the first question comes before PostgreSQL is asked
            await asyncio.sleep(3600)
        return await facts()

    monkeypatch.setattr(shard.journal, "facts", hang)
    return lambda: asked


async def test_a_first_claim_that_was_cut_off_is_made_again(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await open_impatient(tmp_path / "j.sqlite", database_url)
    async with first.running():
        for second in (1, 2, 3):
            await first.until_committed(await first.receive(meter("A", second)))
    await first.journal.close()
    shard = await open_impatient(tmp_path / "j.sqlite", database_url)
    asked = hang_in_the_claim(shard, monkeypatch)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 4)))
    assert asked() > 2
    assert [time[-1] for _, time, _ in await stored(database_url)] == ["1", "2", "3", "4"]
    assert await books(database_url) == [(4, 4, 0, 0)]
    await shard.journal.close()


async def test_a_claim_after_lost_commits_that_was_cut_off_is_made_again(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await open_impatient(tmp_path / "j.sqlite", database_url)
    async with shard.running():
        first = await shard.receive(meter("A", 1))
        await shard.until_committed(first)
        await shard.until_committed(await shard.receive(meter("A", 2)))
        # As after a failover to a server that had not got the last commit.
        await query(database_url, "DELETE FROM meter_history WHERE date_part('second', timestamp) = 2")
        await query(database_url, "UPDATE shard_checkpoint SET last_seq = $1, last_crc = NULL", first)
        asked = hang_in_the_claim(shard, monkeypatch)
        await query(database_url, KILL)
        await shard.until_committed(await shard.receive(meter("A", 3)))
    assert asked() > 2
    assert [time[-1] for _, time, _ in await stored(database_url)] == ["1", "2", "3"]
    await shard.journal.close()


async def test_who_waits_is_told_of_parked_lines_also_when_their_commit_landed_too_late(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await open_impatient(tmp_path / "j.sqlite", database_url)
    await query(database_url, "ALTER TABLE meter_history ADD CONSTRAINT mine CHECK (kwh_consumed_ac < 10)")
    answers_lost = 1

    async def store_and_fall_silent(connection: Any, *arguments: Any) -> None:
        nonlocal answers_lost
        await flush_apart(connection, *arguments)
        if answers_lost:
            answers_lost -= 1
            await asyncio.sleep(3600)

    monkeypatch.setattr("hseie.writer.committer.flush_apart", store_and_fall_silent)
    told: dict[int, Any] = {}
    shard.committer._on_committed = lambda seq: told.update({seq: shard.committer.parked})
    async with shard.running():
        seq = await shard.receive(meter("A", 1), meter("A", 2, 13.0), meter("A", 3))
        await shard.until_committed(seq)
    assert answers_lost == 0
    assert told == {seq: {seq: {0: [1]}}}
    assert shard.committer.tally.dead_lettered == [1, 0]
    assert await books(database_url) == [(3, 2, 0, 1)]
    await shard.journal.close()


async def test_a_flush_that_was_too_slow_is_tried_in_smaller_batches(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await open_impatient(tmp_path / "j.sqlite", database_url)
    sizes: list[int] = []

    async def flush_slowly(connection: Any, batch: Any, *arguments: Any) -> None:
        sizes.append(batch.readings)
        if batch.readings > 2000:
            await asyncio.sleep(3600)
        await flush(connection, batch, *arguments)

    monkeypatch.setattr("hseie.writer.committer.flush", flush_slowly)
    monkeypatch.setattr("hseie.writer.pending._READ_BYTES_MAX", 200_000)
    lines = [[meter(f"M{frame}-{number}", 1) for number in range(500)] for frame in range(10)]
    seqs = [await shard.receive(*some) for some in lines]
    async with shard.running():
        await shard.until_committed(seqs[-1])
    assert max(sizes) > 2000 >= sizes[-1]
    assert await books(database_url) == [(5000, 5000, 0, 0)]
    await shard.journal.close()


async def test_a_trigger_that_swallows_rows_stops_the_flushing_and_loses_nothing(
    tmp_path: Path, database_url: str
) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url).open()
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        await query(
            database_url,
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        )
        await query(
            database_url,
            "CREATE TRIGGER swallow BEFORE INSERT ON meter_history FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        seq = await shard.receive(meter("A", 2))
        async with asyncio.timeout(20):
            while shard.committer.database != "schema":
                await asyncio.sleep(0.01)
        await query(database_url, "DROP TRIGGER swallow ON meter_history")
        await shard.until_committed(seq)
    assert [time[-1] for _, time, _ in await stored(database_url)] == ["1", "2"]
    await shard.journal.close()
