"""`hseie archive`: list, verify, restore and release, and restores that are cut off."""

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie import archive as module
from hseie import archive_restore, clock, database, failpoints
from hseie.analytics.device_readings import DeviceReadings
from hseie.analytics.reader import Reader
from hseie.archive import Archive
from hseie.archive_export import bounds
from hseie.archive_restore import hold_archive, restore
from hseie.cli import main
from hseie.errors import ArchiveUnavailableError, ExitCode
from hseie.readings import METER, VEHICLE
from tests.integration.archive_scene import DAY, NOW, ArchiveScene, needs_duckdb

METERS = f"meter_history_{DAY:%Y_%m_%d}"


@pytest.fixture
async def scene(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArchiveScene:
    """Two parts of meters and one of vehicles, of one day."""
    needs_duckdb()
    monkeypatch.setenv("DATABASE_URL", database_url)
    made = ArchiveScene(database_url, tmp_path)
    await made.begin()
    await made.store(METER)
    await made.store(VEHICLE)
    await made.until_archived()
    await made.store(METER, offset_s=7, devices=1, readings=2)
    await made.a_day_later()
    await made.until_archived()
    return made


async def run(scene: ArchiveScene, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    arguments = ["archive", words[0], "--data", str(scene.folder.parent), *words[1:]]
    capsys.readouterr()  # what the archiver logs
    code = await asyncio.to_thread(main, arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


async def listed(scene: ArchiveScene, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    code, out, _ = await run(scene, capsys, *words, "--json")
    assert code == ExitCode.OK
    return json.loads(out)


async def rows(scene: ArchiveScene) -> list[Any]:
    return await scene.fetch("SELECT * FROM meter_history ORDER BY id")


async def test_what_is_there_is_listed(scene: ArchiveScene, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = await run(scene, capsys, "list")
    lines = [line.split() for line in out.splitlines()]
    assert code == ExitCode.OK
    assert lines[0] == ["kind", "day", "parts", "readings", "bytes", "bytes/reading", "state"]
    assert [(line[0], line[1], line[2], line[3], line[6]) for line in lines[1:]] == [
        ("meter", str(DAY), "2", "62", "archived"),
        ("vehicle", str(DAY), "1", "60", "archived"),
    ]
    found = (await listed(scene, capsys, "list", "--kind", "meter"))["parts"]
    assert [(part["part"], part["readings"], part["state"]) for part in found] == [
        (1, 60, "archived"),
        (2, 2, "archived"),
    ]
    assert found[0]["sums"].keys() == {"id", "created_after", "timestamp", "kwh_consumed_ac", "voltage"}
    assert (await listed(scene, capsys, "list", "--from", str(DAY + timedelta(days=1))))["parts"] == []
    _, out, _ = await run(scene, capsys, "list", "--to", str(DAY - timedelta(days=1)))
    assert out == "No day has left PostgreSQL.\n"


@pytest.mark.parametrize("damage", ["none", "flipped", "cut", "missing", "noted otherwise"])
@pytest.mark.parametrize("duckdb", [True, False])
async def test_a_damaged_file_is_found(
    scene: ArchiveScene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, damage: str, duckdb: bool
) -> None:
    file = scene.folder / f"vehicle/{DAY}/part-1.parquet"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[100] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "missing":
        file.unlink()
    elif damage == "noted otherwise":
        sums = "jsonb_set(sums, '{soc}', '\"3000.01\"')"
        await scene.execute(f"UPDATE archive_part SET sums = {sums} WHERE kind = 'vehicle'")
    if not duckdb:
        monkeypatch.setattr(module, "_duckdb", lambda: None)
    found = damage != "none" and (duckdb or damage != "noted otherwise")
    code, out, _ = await run(scene, capsys, "verify", "--json")
    document = json.loads(out)
    assert (code, document["verified"]) == (ExitCode.FAILURE if found else ExitCode.OK, 3)
    assert [item["file"] for item in document["damaged"]] == ([f"vehicle/{DAY}/part-1.parquet"] if found else [])
    code, out, _ = await run(scene, capsys, "verify", "--kind", "vehicle")
    assert out.endswith(f"1 files read, {int(found)} damaged or missing.\n")
    assert ("part-1.parquet" in out) == found


async def test_a_day_is_restored_and_released_with_its_ids(
    scene: ArchiveScene, capsys: pytest.CaptureFixture[str]
) -> None:
    await scene.store(METER, DAY + timedelta(days=1))
    before = await scene.everything()
    document = await listed(scene, capsys, "restore", str(DAY), "--for", "3")
    assert document["restored"] == {"meter": 62, "vehicle": 60}
    assert {state for _, state, _ in await scene.states()} == {"restored"}
    assert await scene.everything() == before
    held = await rows(scene)
    # Asked again it is as it was; and maintenance leaves it alone.
    code, out, _ = await run(scene, capsys, "restore", str(DAY))
    assert (code, out.count("was there")) == (ExitCode.OK, 2)
    await scene.round(now=clock.utc_now())
    assert [row for row in await rows(scene) if row["timestamp"].date() == DAY] == [
        row for row in held if row["timestamp"].date() == DAY
    ]
    await scene.prove()
    # A late reading while it is restored; then it goes as it came, all of it to one file.
    await scene.store(METER, offset_s=11, devices=1, readings=1)
    assert (await listed(scene, capsys, "release", str(DAY), "--kind", "meter"))["released"] == ["meter"]
    assert {state for _, state, _ in await scene.states()} == {"written"}
    await scene.until_archived()
    assert await scene.states() == [(3, "archived", 63)]
    assert await scene.states(VEHICLE) == [(1, "restored", 60)]
    assert (await listed(scene, capsys, "release", str(DAY)))["released"] == ["vehicle"]
    assert "nothing, it was not restored" in (await run(scene, capsys, "release", str(DAY)))[1]
    await scene.until_archived()
    assert await scene.states(VEHICLE) == [(1, "archived", 60)]
    assert await scene.partitions() == set()
    await scene.prove()


async def test_what_comes_back_is_what_was_there(scene: ArchiveScene, capsys: pytest.CaptureFixture[str]) -> None:
    day = DAY + timedelta(days=1)
    await scene.store(METER, day)
    await scene.execute("UPDATE meter_history SET created_at = created_at + id * interval '1 microsecond'")
    await scene.execute("UPDATE meter_history SET kwh_consumed_ac = 999999.9999, voltage = 0 WHERE id % 7 = 0")
    before = await rows(scene)
    await scene.until_archived()
    await listed(scene, capsys, "restore", str(day))
    assert await rows(scene) == before


async def test_a_restore_ends_by_itself(scene: ArchiveScene, capsys: pytest.CaptureFixture[str]) -> None:
    await listed(scene, capsys, "restore", str(DAY), "--for", "1", "--kind", "meter")
    await scene.round(now=clock.utc_now() + timedelta(hours=23))
    assert {state for _, state, _ in await scene.states()} == {"restored"}
    await scene.round(now=clock.utc_now() + timedelta(hours=25))
    assert {state for _, state, _ in await scene.states()} <= {"written", "archived"}
    await scene.until_archived()
    assert await scene.partitions() == set()
    await scene.prove()


async def test_a_restore_that_is_cut_off_leaves_nothing_and_may_be_tried_again(
    scene: ArchiveScene, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await scene.everything()
    failpoints.arm("tests", {"HSEIE_FAIL": "archive.in_restore:error=EIO@2"})  # of the second part: one is in already
    try:
        code, _, err = await run(scene, capsys, "restore", str(DAY), "--kind", "meter")
    finally:
        failpoints.arm("tests", {})
    assert code != ExitCode.OK
    assert "hseie: " in err
    assert await rows(scene) == []
    assert {state for _, state, _ in await scene.states()} == {"archived"}
    assert (await listed(scene, capsys, "restore", str(DAY), "--kind", "meter"))["restored"] == {"meter": 62}
    assert await scene.everything() == before
    await scene.prove()


@pytest.mark.parametrize("broken", ["meter", "vehicle"])
async def test_a_kind_that_does_not_come_back_is_told_and_the_other_does(
    scene: ArchiveScene, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    before = await scene.everything()
    file = scene.folder / f"{broken}/{DAY}/part-1.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    whole = {"meter": 62, "vehicle": 60}
    del whole[broken]
    code, out, err = await run(scene, capsys, "restore", str(DAY))
    assert code == ExitCode.UNAVAILABLE
    assert [f"{name} {DAY}: {readings} readings" in out for name, readings in whole.items()] == [True]
    assert broken not in out
    assert err.startswith(f"hseie: {broken} {DAY} is not restored: ")
    assert "part-1.parquet has" in err
    code, out, _ = await run(scene, capsys, "restore", str(DAY), "--json")
    document = json.loads(out)
    assert (code, document["restored"]) == (ExitCode.UNAVAILABLE, dict.fromkeys(whole, 0))
    assert document["failed"].keys() == {broken}
    file.write_bytes(content)
    document = await listed(scene, capsys, "restore", str(DAY))
    assert (document["restored"][broken], document["failed"]) == ({"meter": 62, "vehicle": 60}[broken], {})
    assert await scene.everything() == before
    await scene.prove()


# The command line, killed as the kernel does it where memory is short.
KILLED = (
    "import os, sys; from hseie import cli, failpoints; failpoints.arm('command', os.environ); cli.main(sys.argv[1:])"
)


@pytest.mark.parametrize(
    ("piece", "there"),
    [(1, {"meter": 62, "vehicle": 60}), (2, {"meter": 62, "vehicle": 60}), (0, {"meter": 0, "vehicle": 60})],
    ids=["first piece", "second piece", "second kind"],
)
async def test_a_restore_that_is_killed_goes_on_with_the_same_command(
    scene: ArchiveScene, capsys: pytest.CaptureFixture[str], piece: int, there: dict[str, int]
) -> None:
    before = await scene.everything()
    arguments = ["archive", "restore", "--data", str(scene.folder.parent), str(DAY)]
    if not piece:
        # How many pieces a kind has is DuckDB's affair.
        failpoints.arm("tests", {"HSEIE_FAIL": "archive.in_restore:sleep=0@999"})
        counted = failpoints._reach.__self__  # type: ignore[attr-defined]
        await listed(scene, capsys, "restore", str(DAY), "--kind", "meter")
        failpoints.arm("tests", {})
        await listed(scene, capsys, "release", str(DAY))
        await scene.until_archived()
        piece = counted._reached["archive.in_restore"] + 1
    rule = f"archive.in_restore:kill@{piece}"
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, *arguments, env={**os.environ, failpoints.VARIABLE: rule}
    )
    assert await killed.wait() == -signal.SIGKILL
    # Maintenance comes before anybody tries again.
    await scene.round(now=clock.utc_now())
    assert await scene.everything() == before
    assert (await listed(scene, capsys, "restore", str(DAY)))["restored"] == there
    assert {state for kind in (METER, VEHICLE) for _, state, _ in await scene.states(kind)} == {"restored"}
    assert len(await rows(scene)) == 62
    await scene.prove()
    await listed(scene, capsys, "release", str(DAY))
    await scene.until_archived()
    assert await scene.partitions() == set()
    await scene.prove()


async def test_a_question_that_asked_history_before_a_restore_finds_the_day(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await Reader.open(scene.config, scene.url, "tests", 2)
    archive = Archive(scene.folder, 64)
    readings = DeviceReadings(reader, archive, METER, scene.config)
    ask = reader.rows
    restored: list[int] = []

    async def and_a_restore(name: str, *values: Any, **more: Any) -> Any:
        found = await ask(name, *values, **more)
        if name == "history_oldest_first" and not restored:
            restored.append(
                await database.with_connection(
                    scene.url, "tests", lambda connection: restore(connection, archive, METER, DAY, NOW)
                )
            )
        return found

    monkeypatch.setattr(reader, "rows", and_a_restore)
    try:
        before = await readings.first("meter-0", *bounds(DAY), 100, ascending=True)
        after = await readings.first("meter-0", *bounds(DAY), 100, ascending=True)
    finally:
        await archive.close()
        await reader.close(1)
    assert restored == [62]
    assert (len(before), len(after)) == (22, 22)
    assert [row["timestamp"] for row in before] == [row["timestamp"] for row in after]


async def test_a_damaged_file_is_not_restored(scene: ArchiveScene, capsys: pytest.CaptureFixture[str]) -> None:
    file = scene.folder / f"meter/{DAY}/part-2.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    code, _, err = await run(scene, capsys, "restore", str(DAY), "--kind", "meter")
    assert (code, "part-2.parquet is not what was written" in err) == (ExitCode.UNAVAILABLE, True)
    assert await rows(scene) == []
    code, _, err = await run(scene, capsys, "restore", "2026-02-09")
    assert (code, "no file has readings of 2026-02-09" in err) == (ExitCode.UNAVAILABLE, True)
    code, _, err = await run(scene, capsys, "restore", "yesterday")
    assert code == ExitCode.USAGE


async def test_a_restore_waits_for_the_archiver_but_not_for_ever(
    scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_restore, "LOCK_PAUSE_S", 0.05)
    holder = await database.connect(scene.url, "maintenance", 10)
    await holder.fetchval(database.statement("archive_lock"))

    async def work(connection: Any) -> None:
        with pytest.raises(ArchiveUnavailableError, match="maintenance is archiving"):
            await hold_archive(connection, 0.1)
        await database.close(holder)
        await hold_archive(connection, 30)

    await database.with_connection(scene.url, "tests", work)


async def test_two_restores_at_once_bring_a_day_back_once(scene: ArchiveScene) -> None:
    archives = [Archive(scene.folder, 64) for _ in range(2)]
    try:
        found = await asyncio.gather(
            *(
                database.with_connection(
                    scene.url, "tests", lambda connection, files=files: restore(connection, files, METER, DAY, NOW)
                )
                for files in archives
            )
        )
    finally:
        for files in archives:
            await files.close()
    assert sorted(found) == [0, 62]
    assert len(await rows(scene)) == 62
