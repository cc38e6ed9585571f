"""`hseie journal status` on real journals, beside a real database and without one."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hseie import cli
from hseie.writer.journal import Journal, journal_path
from tests.integration.test_writer_commit import Shard, meter, query

Capture = pytest.CaptureFixture[str]
NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def shard(folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shard]:
    """The journal of a node with one shard: a frame forgotten, one committed, one waiting."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("HSEIE_WRITER__SHARDS", "1")
    shard = await Shard(journal_path(folder, 0, 1), database_url).open()
    async with shard.running():
        first = await shard.receive(meter("A", 1))
        await shard.until_committed(await shard.receive(meter("A", 2)))
        await shard.journal.prune(first)
    await shard.receive(meter("A", 3), meter("A", 4))
    yield shard
    await shard.journal.close()


async def status(tmp_path: Path, capsys: Capture, *options: str) -> tuple[int, Any]:
    code = await asyncio.to_thread(cli.main, ["journal", "status", "--data", str(tmp_path), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


async def test_a_journal_at_work(shard: Shard, tmp_path: Path, capsys: Capture) -> None:
    code, document = await status(tmp_path, capsys, "--check")
    assert (code, document["postgres"], document["problems"]) == (0, "answers", [])
    [found] = document["journals"]
    first = shard.journal.identity.first_seq
    assert found.pop("disk_bytes") > found["frame_bytes"] > 0
    del found["frame_bytes"]
    assert found == {
        "file": "shard-0000-of-0001.sqlite",
        "journal_id": str(shard.journal.identity.journal_id),
        "shard": 0,
        "shards": 1,
        "state": "in use",
        "frames": 2,
        "oldest_seq": first + 1,
        "newest_seq": first + 2,
        "pruned_seq": first,
        "committed_seq": first + 1,
        "frames_waiting": 1,
        "readings_waiting": {"meter": 2, "vehicle": 0},
        "problems": [],
    }
    assert await asyncio.to_thread(cli.main, ["journal", "status", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "0 of 1  in use" in printed
    assert "2 meter" in printed


async def test_postgresql_away(shard: Shard, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", NOBODY)
    code, document = await status(tmp_path, capsys)
    assert code == 0
    assert "no connection to PostgreSQL" in document["postgres"]
    assert (document["journals"][0]["committed_seq"], document["journals"][0]["problems"]) == (None, [])
    assert await asyncio.to_thread(cli.main, ["journal", "status", "--data", str(tmp_path)]) == 0
    assert "unknown" in capsys.readouterr().out


async def test_before_the_first_start(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    code, document = await status(tmp_path, capsys)
    assert (code, document["journals"], document["problems"]) == (0, [], [])
    assert "no database yet" in document["postgres"]
    assert list(tmp_path.iterdir()) == []


async def test_journals_of_another_number_of_shards(
    shard: Shard, tmp_path: Path, capsys: Capture, folder: Path
) -> None:
    for number, drained in ((0, "1000.0"), (1, "")):
        other = await Journal.open(journal_path(folder, number, 2), number, 2)
        await other.note("drained_at", drained)
        await other.close()
    code, document = await status(tmp_path, capsys)
    assert code == 0
    assert [(found["shards"], found["state"]) for found in document["journals"]] == [
        (1, "in use"),
        (2, "drained"),
        (2, "to be drained"),
    ]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE shard_checkpoint SET last_seq = last_seq + 5", "it is an older copy"),
        ("UPDATE shard_checkpoint SET last_seq = first_seq - 1", "was it restored from an older backup?"),
        ("UPDATE shard_checkpoint SET owner = gen_random_uuid()", "another copy of it was flushed"),
        ("TRUNCATE shard_checkpoint CASCADE", "this PostgreSQL does not know it"),
    ],
)
async def test_what_is_wrong_beside_postgresql(
    shard: Shard, tmp_path: Path, capsys: Capture, damage: str, words: str
) -> None:
    await query(shard.url, damage)
    code, document = await status(tmp_path, capsys)
    assert code == 1
    assert words in document["problems"][0]
    assert document["problems"][0].startswith("shard-0000-of-0001.sqlite: ")


async def test_what_is_wrong_with_the_file(shard: Shard, tmp_path: Path, capsys: Capture, folder: Path) -> None:
    direct = sqlite3.connect(shard.path, isolation_level=None)
    direct.execute("UPDATE frame SET body = substr(body, 2) WHERE seq = ?", (shard.journal.last_seq,))
    direct.close()
    assert (await status(tmp_path, capsys))[0] == 0  # not looked into
    code, document = await status(tmp_path, capsys, "--check")
    assert (code, document["problems"]) == (
        1,
        [f"shard-0000-of-0001.sqlite: frame {shard.journal.last_seq} is damaged (its CRC does not fit)"],
    )
    journal_path(folder, 3, 4).write_bytes(b"rubbish " * 1000)
    code, document = await status(tmp_path, capsys)
    assert code == 1
    assert "shard-0003-of-0004.sqlite cannot be read as a journal: file is not a database" in document["problems"][0]


async def test_a_copy_in_the_folder(shard: Shard, tmp_path: Path, capsys: Capture) -> None:
    copy = shard.path.with_name("shard-0000-of-0001.old.sqlite")
    copy.write_bytes(shard.path.read_bytes())
    code, document = await status(tmp_path, capsys)
    assert (code, len(document["journals"])) == (1, 1)
    assert f"{copy} is no journal's name; move it out of this folder" in document["problems"][0]


async def test_a_journal_that_should_be_there(
    shard: Shard, tmp_path: Path, capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSEIE_WRITER__SHARDS", "2")
    code, document = await status(tmp_path, capsys)
    assert (code, document["problems"]) == (0, [])  # the next start makes both, and drains the one that is there
    await (await Journal.open(journal_path(folder, 0, 2), 0, 2)).close()
    code, document = await status(tmp_path, capsys)
    assert code == 1
    assert "shard-0001-of-0002.sqlite is not there" in document["problems"][0]
