"""The files of the archive, written and read by DuckDB, without a database."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hseie import archive as module
from hseie import archive_files
from hseie.archive import TEMPORARY_MEMORIES, WAITING_MAX, Archive, Part
from hseie.errors import ArchiveUnavailableError
from hseie.readings import METER

DAY = datetime(2026, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Row = tuple[int, datetime, datetime, str, Decimal, Decimal]


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    made = Archive(tmp_path, 128)
    if not made.available and os.environ.get("CI") != "true":
        pytest.skip("DuckDB is not installed: the extra `archive`")
    assert made.available
    yield made
    await made.close()


def rows_of(devices: int, minutes: int, start: datetime = DAY) -> list[Row]:
    """Readings of meters, sorted as an archived day is; ids as if they had come in order of time."""
    return [
        (
            1 + minute * devices + number,
            start + minute * MINUTE + timedelta(microseconds=123 + number),
            start + minute * MINUTE + timedelta(microseconds=number),
            f"METER_{number:03}",
            Decimal(number * minutes + minute).scaleb(-4),
            Decimal(22000 + minute).scaleb(-2),
        )
        for number in range(devices)
        for minute in range(minutes)
    ]


async def write(archive: Archive, name: str, rows: list[Row]) -> Part:
    """Write a part as the archiver does, from lines of COPY text."""
    lines = archive.folder / f"{name}.txt"
    lines.write_text("".join("\t".join(str(value) for value in row) + "\n" for row in rows))
    await archive.write(METER, lines, archive.folder / name)
    return Part("meter", rows[0][2].date(), 1, "written", name, len(rows))


def answer(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(device, at, id_, *values) for id_, _, at, device, *values in rows]


async def test_what_was_written_is_read_in_order_and_exactly(archive: Archive) -> None:
    rows = rows_of(devices=7, minutes=50)
    part = await write(archive, "a'b.parquet", rows)
    devices = ["METER_005", "METER_002", "nobody"]
    start, end = DAY + 10 * MINUTE, DAY + 20 * MINUTE  # half-open: device 0 would be on the edge, the others are behind
    wanted = [row for row in rows if row[3] in devices and start <= row[2] < end]
    assert len(wanted) == 20
    assert await archive.readings([part], METER, devices, start, end) == answer(wanted)
    assert await archive.readings([part], METER, devices, start, end, newest_first=True) == answer(wanted)[::-1]
    assert await archive.readings([part], METER, devices, start, end, limit=13) == answer(wanted)[:13]
    first = await archive.readings([part], METER, ["METER_000"], start, end)
    assert [row[1] for row in first] == [start + minute * MINUTE for minute in range(10)]
    assert await archive.readings([], METER, devices, start, end) == []
    assert await archive.readings([part], METER, [], start, end) == []


async def test_days_and_parts_are_one_answer_and_a_limit_leaves_days_alone(archive: Archive) -> None:
    later = DAY + timedelta(days=1)
    days = [rows_of(3, 20), rows_of(3, 20, later)]
    late = [(10_000, later, DAY + timedelta(seconds=30), "METER_001", Decimal("9.0000"), Decimal("1.00"))]
    parts = [await write(archive, f"{number}.parquet", rows) for number, rows in enumerate([*days, late])]
    own = sorted(row for row in answer([*days[0], *days[1], *late]) if row[0] == "METER_001")
    end = DAY + timedelta(days=2)
    assert len(own) == 41
    assert await archive.readings(parts, METER, ["METER_001"], DAY, end) == own
    assert await archive.readings(parts, METER, ["METER_001"], DAY, end, limit=3) == own[:3]
    newest = await archive.readings(parts, METER, ["METER_001"], DAY, end, limit=25, newest_first=True)
    assert newest == own[::-1][:25]
    (archive.folder / "1.parquet").write_bytes((archive.folder / "0.parquet").read_bytes() + b"and more")
    with pytest.raises(ArchiveUnavailableError, match=r"1\.parquet is not the file that was archived"):
        await archive.readings([replace(parts[1], bytes=1000)], METER, ["METER_001"], DAY, end)
    (archive.folder / "1.parquet").unlink()
    assert await archive.readings(parts, METER, ["METER_001"], DAY, end, limit=3) == own[:3]
    with pytest.raises(ArchiveUnavailableError, match=r"1\.parquet is missing"):
        await archive.readings(parts, METER, ["METER_001"], DAY, end, limit=30)


async def test_a_file_that_is_none_is_said_with_its_name(archive: Archive) -> None:
    part = Part("meter", date(2026, 2, 8), 1, "archived", "bad.parquet", 1)
    (archive.folder / part.file).write_bytes(b"PAR1 and then nothing of the kind PAR1")
    with pytest.raises(ArchiveUnavailableError, match=r"bad\.parquet"):
        await archive.readings([part], METER, ["M"], DAY, DAY + MINUTE)


async def test_who_goes_away_stops_the_work_and_no_other(archive: Archive) -> None:
    rows = rows_of(devices=40, minutes=1440)
    part = await write(archive, "day.parquet", rows)
    every = [f"METER_{number:03}" for number in range(40)]
    slow = asyncio.create_task(archive.readings([part] * 60, METER, every, DAY, DAY + timedelta(days=1)))
    quick = asyncio.create_task(archive.readings([part], METER, ["METER_007"], DAY, DAY + 5 * MINUTE))
    gone = asyncio.create_task(archive.readings([part] * 60, METER, every, DAY, DAY + timedelta(days=1)))
    while archive._running is None:
        await asyncio.sleep(0.001)
    slow.cancel()
    gone.cancel()
    assert await quick == answer([row for row in rows if row[3] == "METER_007"][:5])
    for task in (slow, gone):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert archive._waiting == 0


async def test_those_who_wait_have_a_limit(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    part = await write(archive, "day.parquet", rows_of(2, 2))
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    asked = [archive.readings([part], METER, ["METER_001"], DAY, DAY + MINUTE) for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in found] == [list, list, ArchiveUnavailableError]
    assert WAITING_MAX > 2


async def test_memory_does_not_grow_with_the_files_that_were_read(archive: Archive) -> None:
    rows = rows_of(2, 2)
    parts = [await write(archive, f"{number}.parquet", rows) for number in range(40)]

    async def kept() -> int:
        total = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()"
        return await archive._in_thread(lambda connection, _: connection.execute(total).fetchall()[0][0])

    await archive.readings(parts[:1], METER, ["METER_001"], DAY, DAY + MINUTE)
    before = await kept()
    for part in parts:
        assert len(await archive.readings([part], METER, ["METER_001"], DAY, DAY + MINUTE)) == 1
    assert await kept() == before


async def test_what_does_not_fit_into_memory_has_a_limit_on_disk(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighty megabytes that nobody can compress, sorted in 48."""
    text = "SELECT max(x) FROM (SELECT md5(i::VARCHAR) AS x FROM range(1_500_000) AS t (i) ORDER BY x OFFSET 5)"
    for times, fits in ((TEMPORARY_MEMORIES, True), (1, False)):
        monkeypatch.setattr(module, "TEMPORARY_MEMORIES", times)
        small = Archive(tmp_path / str(times), 48)
        small.folder.mkdir()
        try:
            sorting = small._in_thread(lambda connection, _: connection.execute(text).fetchall())
            if fits:
                assert await sorting
            else:
                with pytest.raises(ArchiveUnavailableError, match="failed to offload"):
                    await sorting
        finally:
            await small.close()


async def test_without_duckdb_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_duckdb", lambda: None)
    archive = Archive(tmp_path, 128)
    assert not archive.available
    part = Part("meter", date(2026, 2, 8), 1, "archived", "any.parquet", 1)
    with pytest.raises(ArchiveUnavailableError, match="not installed"):
        await archive.readings([part], METER, ["M"], DAY, DAY + MINUTE)
    await archive.close()


def test_a_file_is_synced_before_it_has_its_name_and_so_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda end: (done.append(str(Path(f"/proc/self/fd/{end}").readlink())), sync(end)))
    monkeypatch.setattr(os, "link", lambda old, new: (done.append("link"), link(old, new)))
    archive_files.claim(tmp_path / "archive", "ours", used=False)
    assert done == [str(path) for path in (tmp_path, tmp_path / "archive" / "archive.id.new", tmp_path / "archive")]
    done.clear()
    part, fresh = archive_files.begin(tmp_path / "archive", "meter", DAY.date(), [1])
    final = tmp_path / "archive" / archive_files.file_of("meter", DAY.date(), part)
    # Each folder that was made, in the one above.
    assert done == [str(folder) for folder in (tmp_path / "archive", final.parent.parent)]
    done.clear()
    fresh.write_bytes(b"rows")
    archive_files.keep(fresh, final)
    assert done == [str(fresh), "link", str(final.parent)]
    assert (part, final.read_bytes(), fresh.exists()) == (2, b"rows", False)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    final = tmp_path / "part-1.parquet"
    final.write_bytes(b"named before")
    fresh = tmp_path / "part-1.x.writing"
    fresh.write_bytes(b"of one who was stopped")
    with pytest.raises(FileExistsError):
        archive_files.keep(fresh, final)
    assert final.read_bytes() == b"named before"


def test_only_what_nobody_names_and_is_older_is_swept(tmp_path: Path) -> None:
    files = [archive_files.file_of("meter", DAY.date(), part) for part in (1, 2, 3, 4)]
    (tmp_path / files[0]).parent.mkdir(parents=True)
    for file in files:
        (tmp_path / file).write_bytes(b"rows")
    # Part 4 is of somebody who came after us.
    removed = archive_files.sweep(tmp_path, [files[0], files[1], files[3]], [files[1], files[2]])
    assert removed == [files[0]]
    assert [(tmp_path / file).exists() for file in files] == [False, True, True, True]
    assert archive_files.sweep(tmp_path, files, []) == []
