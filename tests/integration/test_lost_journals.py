"""New journals beside those that PostgreSQL knows: the folder wiped, another node, and what an operator may do."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import pytest
import structlog

from hseie import cli, database, lost_journals
from hseie.config import Config
from hseie.config_load import load
from hseie.errors import FencedError, JournalError, LostJournalError
from hseie.writer import reshard, service
from hseie.writer.checkpoint import Checkpoint
from hseie.writer.journal import Entry, Journal, journal_path
from tests.integration.test_writer_commit import Shard, meter, query

Capture = pytest.CaptureFixture[str]


class Claimant:
    """A writer of shard `shard` in a folder, as far as its claim."""

    def __init__(self, folder: Path, url: str, shard: int = 0, shards: int = 2) -> None:
        self.path = journal_path(folder, shard, shards)
        self._place = (shard, shards)
        self._url = url

    async def claim(self, lost_journal: Any = "refuse") -> UUID:
        """Open the file, or make it, and claim it; its id."""
        journal = await Journal.open(self.path, *self._place)
        try:
            checkpoint = Checkpoint(journal, lost_journal, structlog.get_logger())
            await database.with_connection(self._url, "tests", checkpoint.claim)
        finally:
            await journal.close()
        return journal.identity.journal_id


def wipe(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


async def retired(url: str) -> list[Any]:
    sql = "SELECT journal_id, retired_reason FROM shard_checkpoint WHERE retired_at IS NOT NULL"
    return await query(url, sql)


async def retire(url: str, journal_id: UUID, reason: Any = "lost") -> None:
    await database.with_connection(url, "tests", lambda it: lost_journals.retire(it, [journal_id], reason))


async def test_writers_that_begin_at_once_do_not_refuse_each_other(tmp_path: Path, database_url: str) -> None:
    claimants = [Claimant(tmp_path, database_url, shard, 8) for shard in range(8)]
    made = await asyncio.gather(*(claimant.claim() for claimant in claimants))
    assert len(set(made)) == 8
    again = await asyncio.gather(*(claimant.claim() for claimant in claimants))
    assert again == made


async def test_a_neighbour_that_is_let_in_during_the_look_is_not_missed(tmp_path: Path, database_url: str) -> None:
    class Connection:
        async def fetch(self, *query: Any) -> Any:
            await Claimant(tmp_path, database_url, 1).claim()
            return await database.with_connection(database_url, "tests", lambda it: it.fetch(*query))

    assert await lost_journals.find_lost(Connection(), tmp_path) == []


async def test_of_two_nodes_that_begin_at_once_one_goes_on(tmp_path: Path, database_url: str) -> None:
    nodes = [[Claimant(tmp_path / name, database_url, shard) for shard in range(2)] for name in ("one", "other")]
    found = await asyncio.gather(*(claimant.claim() for node in nodes for claimant in node), return_exceptions=True)
    refused = [[isinstance(outcome, LostJournalError) for outcome in found[at : at + 2]] for at in (0, 2)]
    assert sorted(refused) == [[False, False], [True, True]]


async def test_a_wiped_folder_is_refused_with_what_there_is_to_know(tmp_path: Path, database_url: str) -> None:
    claimant = Claimant(tmp_path, database_url)
    lost = await claimant.claim()
    wipe(tmp_path)
    with pytest.raises(LostJournalError) as caught:
        await claimant.claim()
    for part in (str(lost), "shard 0 of 2", str(tmp_path), "another node", "moved or wiped", "hseie journal retire"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 78
    assert await query(database_url, "SELECT journal_id FROM shard_checkpoint") == [(lost,)]
    await retire(database_url, lost)
    assert await claimant.claim() != lost


async def test_one_lost_file_of_several_is_missed(tmp_path: Path, database_url: str) -> None:
    first, second = (Claimant(tmp_path, database_url, shard) for shard in range(2))
    lost = await first.claim()
    await second.claim()
    for file in tmp_path.glob("shard-0000*"):
        file.unlink()
    assert await second.claim()  # PostgreSQL knows it
    with pytest.raises(LostJournalError, match=str(lost)):
        await first.claim()


async def test_replace_retires_and_goes_on(tmp_path: Path, database_url: str) -> None:
    claimant = Claimant(tmp_path, database_url)
    lost = await claimant.claim()
    wipe(tmp_path)
    made = await claimant.claim("replace")
    assert await retired(database_url) == [(lost, "lost")]
    assert await claimant.claim() == made


async def test_what_was_given_up_is_fenced_at_its_claim_and_comes_back_when_that_is_undone(
    tmp_path: Path, database_url: str
) -> None:
    claimant = Claimant(tmp_path, database_url)
    journal_id = await claimant.claim()
    await retire(database_url, journal_id)
    with pytest.raises(FencedError, match="was retired at"):
        await claimant.claim()
    assert await retired(database_url) == [(journal_id, "lost")]
    await database.with_connection(database_url, "tests", lambda it: lost_journals.unretire(it, journal_id))
    assert await claimant.claim() == journal_id


async def test_a_drained_journal_is_not_missed_and_is_used_again(tmp_path: Path, database_url: str) -> None:
    folder = tmp_path / "node"
    former = Claimant(folder, database_url, 0, 1)
    journal_id = await former.claim()
    await retire(database_url, journal_id, "drained")
    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    for file in folder.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert await Claimant(folder, database_url, 0, 2).claim()
    # A copy of the former folder does not get in beside the new journals; the node that has both does.
    with pytest.raises(LostJournalError):
        await Claimant(elsewhere, database_url, 0, 1).claim()
    assert await former.claim() == journal_id
    assert await retired(database_url) == []


async def test_the_running_writer_of_a_retired_journal_is_fenced_at_its_next_flush(
    tmp_path: Path, database_url: str
) -> None:
    shard = await Shard(tmp_path / "journal.sqlite", database_url).open()
    running = asyncio.ensure_future(shard.committer.run())
    await shard.until_committed(await shard.receive(meter("A", 1)))
    await retire(database_url, shard.journal.identity.journal_id)
    await shard.receive(meter("A", 2))
    with pytest.raises(FencedError, match="given up for lost, and another journal has taken its place"):
        await asyncio.wait_for(running, 20)
    assert await query(database_url, "SELECT count(*) FROM meter_history") == [(1,)]
    await shard.journal.close()


async def test_files_that_are_just_being_made_have_no_id_yet(tmp_path: Path) -> None:
    journal_path(tmp_path, 0, 4).write_bytes(b"")
    journal = await Journal.open(journal_path(tmp_path, 1, 4), 1, 4)
    assert lost_journals.ids_in(tmp_path) == {journal.identity.journal_id}
    await journal.close()
    assert lost_journals.ids_in(tmp_path) == {journal.identity.journal_id}
    (tmp_path / "shard-0002-of-0004.sqlite").write_bytes(b"SQLite format 3\0" + b"\x10\0\x02\x02" + b"\xff" * 5000)
    with pytest.raises(JournalError, match="shard-0002"):
        lost_journals.ids_in(tmp_path)
    assert lost_journals.ids_in(tmp_path / "none") == set()


class Servant:
    """What a role's `serve` needs of its process."""

    def __init__(self, run_dir: Path) -> None:
        self.name = "writer-0"
        self.run_dir = run_dir
        self.log = structlog.get_logger()
        self.stopping = asyncio.Event()
        self.readies = 0
        self.stops_when_ready = True

    def ready(self) -> None:
        self.readies += 1
        if self.stops_when_ready:
            self.stopping.set()


@pytest.fixture
def servant() -> Iterator[Servant]:
    folder = Path(tempfile.mkdtemp(prefix="hseie-"))  # pytest's own folders are too long for sockets
    yield Servant(folder)
    shutil.rmtree(folder)


def configured(data: Path, **environ: str) -> Config:
    return load(None, {f"HSEIE_{key}": value for key, value in environ.items()}, {"node.data": str(data)}).config


async def test_a_writer_is_ready_only_after_its_new_journal_was_let_in(
    tmp_path: Path, database_url: str, servant: Servant
) -> None:
    lost = await Claimant(tmp_path / "elsewhere", database_url).claim()
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(service.serve(servant, configured(tmp_path), database_url, 0), 30)  # type: ignore[arg-type]
    assert caught.group_contains(LostJournalError, match=str(lost))
    assert servant.readies == 0
    assert list((tmp_path / "journal").iterdir()) == []  # nothing lies in the way of what is to be brought back
    await retire(database_url, lost)
    await asyncio.wait_for(service.serve(servant, configured(tmp_path), database_url, 0), 30)  # type: ignore[arg-type]
    assert servant.readies == 1
    assert len(lost_journals.ids_in(tmp_path / "journal")) == 1


async def test_a_new_writer_is_ready_without_postgresql_too(tmp_path: Path, servant: Servant) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    await asyncio.wait_for(service.serve(servant, configured(tmp_path), nobody, 0), 30)  # type: ignore[arg-type]
    assert servant.readies == 1


async def test_a_journal_that_was_drained_and_removed_is_not_missed(
    tmp_path: Path, database_url: str, servant: Servant
) -> None:
    drained = await Claimant(tmp_path / "journal", database_url, 0, 3).claim()
    config = configured(tmp_path, INGEST__DEDUPE_WINDOW_S="0")
    servant.stops_when_ready = False
    await reshard.serve(servant, config, database_url)  # type: ignore[arg-type]
    assert await retired(database_url) == [(drained, "drained")]
    await reshard.serve(servant, config, database_url)  # type: ignore[arg-type]
    assert list((tmp_path / "journal").iterdir()) == []
    assert await Claimant(tmp_path / "journal", database_url, 0, 2).claim()


async def test_looking_at_the_ids_does_not_let_go_of_an_open_journal(tmp_path: Path) -> None:
    """Had it lost its locks, the next process to close the file would take the WAL away from under it."""
    path = journal_path(tmp_path, 0, 1)
    journal = await Journal.open(path, 0, 1)
    first = await journal.append([Entry(b"one", {0: 1}, {})])
    assert lost_journals.ids_in(tmp_path) == {journal.identity.journal_id}
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM meta').fetchall()"
    subprocess.run([sys.executable, "-c", look, str(path)], check=True)
    await journal.append([Entry(b"two", {0: 1}, {})])
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("shard-*"):  # as a kill -9 leaves them
        (copy / file.name).write_bytes(file.read_bytes())
    found = await Journal.open(journal_path(copy, 0, 1), 0, 1)
    assert found.last_seq == first + 1
    await found.close()
    await journal.close()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def lost(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A journal of shard 0 whose file is gone, and one of shard 1 in the node's folder."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    journal_id = await Claimant(tmp_path / "journal", database_url, 0).claim()
    await Claimant(tmp_path / "journal", database_url, 1).claim()
    for file in (tmp_path / "journal").glob("shard-0000*"):
        file.unlink()
    return journal_id


async def command(tmp_path: Path, *arguments: str) -> int:
    return await asyncio.to_thread(cli.main, ["journal", "retire", "--data", str(tmp_path), *arguments])


async def test_the_command_retires_what_is_lost_and_nothing_else(
    lost: UUID, tmp_path: Path, database_url: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say_no(question: str, **_: Any) -> None:
        raise click.Abort

    monkeypatch.setattr("click.confirm", say_no)
    assert await command(tmp_path) == 130
    assert f"journal {lost} of shard 0 of 2" in capsys.readouterr().err
    assert await retired(database_url) == []
    assert await command(tmp_path, "--yes") == 0
    assert capsys.readouterr().out.startswith(f"retired: journal {lost} of shard 0 of 2")
    assert await retired(database_url) == [(lost, "lost")]
    assert await command(tmp_path, "--yes") == 0
    assert capsys.readouterr().out.startswith("Nothing to retire")


async def test_the_command_takes_ids_and_takes_them_back(
    lost: UUID, tmp_path: Path, database_url: str, capsys: Capture
) -> None:
    [(present,)] = await query(database_url, "SELECT journal_id FROM shard_checkpoint WHERE shard = 1")
    for wrong in (present, uuid4()):
        assert await command(tmp_path, str(wrong), "--yes") == 78
        assert f"journal {wrong} is not to be retired" in capsys.readouterr().err
    assert await command(tmp_path, str(lost), "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"retired": [str(lost)]}
    assert await command(tmp_path, "--undo", str(lost)) == 0
    assert "may be used again" in capsys.readouterr().out
    assert await retired(database_url) == []
    assert await command(tmp_path, "--undo", str(lost)) == 78
    assert "was not given up" in capsys.readouterr().err
    assert await command(tmp_path, "--undo", str(lost), str(lost)) == 64
