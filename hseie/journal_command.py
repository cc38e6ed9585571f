"""`hseie journal status`: the journals of a data folder, how far PostgreSQL has them, and what is wrong with them.

Reads the files themselves, so it works with the node running or not, and with PostgreSQL away.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
import orjson

from hseie import database
from hseie.balance import in_words
from hseie.books import Checkpoint
from hseie.commands import database_url
from hseie.config import Config
from hseie.database import DATABASE_ERRORS, statement
from hseie.errors import ExitCode, JournalError, NotReachableError
from hseie.journal_file import JournalFile, journal_files, journal_name, read_journal
from hseie.readings import KINDS
from hseie.tables import print_table

_DATABASE_TIMEOUT_S = 3.0

Checkpoints = Mapping[str, Checkpoint]


@dataclass(frozen=True)
class JournalStatus:
    """One journal. `committed_seq` is None where PostgreSQL does not answer or does not know it.

    Sequences are None where there are no frames. `readings_waiting` is by kind: durable, and not in PostgreSQL yet.
    """

    file: str
    journal_id: str
    shard: int
    shards: int
    state: str
    frames: int
    frame_bytes: int
    disk_bytes: int
    oldest_seq: int | None
    newest_seq: int | None
    pruned_seq: int | None
    committed_seq: int | None
    frames_waiting: int
    readings_waiting: dict[str, int]
    problems: list[str]


def describe(file: JournalFile, checkpoints: Checkpoints | None, shards: int) -> JournalStatus:
    """Describe a journal of a node with `shards` shards; `checkpoints` is None where PostgreSQL does not answer."""
    checkpoint = None if checkpoints is None else checkpoints.get(file.journal_id)
    state = "drained" if file.drained else "in use" if file.shards == shards else "to be drained"
    waiting = file.waiting.readings
    return JournalStatus(
        file=file.path.name,
        journal_id=file.journal_id,
        shard=file.shard,
        shards=file.shards,
        state=state,
        frames=file.frames,
        frame_bytes=file.frame_bytes,
        disk_bytes=file.disk_bytes,
        oldest_seq=file.pruned_seq + 1 if file.frames else None,
        newest_seq=file.last_seq if file.frames else None,
        pruned_seq=file.pruned_seq if file.pruned_seq >= file.first_seq else None,
        committed_seq=checkpoint.last_seq if checkpoint else None,
        frames_waiting=file.waiting_frames,
        readings_waiting={kind.name: waiting[kind.number] for kind in KINDS},
        problems=list(file.damage) if checkpoints is None else in_words(file, checkpoint),
    )


def show_journals(config: Config, *, as_json: bool, check_frames: bool) -> ExitCode:
    """Print the journals; `check_frames` reads every frame and compares its checksum. 1 where something is wrong."""
    checkpoints, postgres = asyncio.run(_checkpoints(config))
    folder, shards = config.data_dir / "journal", config.writer.shards
    committed = {journal_id: point.last_seq for journal_id, point in (checkpoints or {}).items()}
    journals, problems = [], []
    paths = journal_files(folder)
    for path in paths:
        try:
            found = read_journal(path, committed, check_frames=check_frames)
        except JournalError as error:
            problems.append(str(error))
        else:
            journals.append(describe(found, checkpoints, shards))
    names = {path.name for path in paths}
    missing = [name for name in (journal_name(shard, shards) for shard in range(shards)) if name not in names]
    if len(missing) < shards:  # else it has never run, or not yet with this number of them
        problems += [f"{name} is not there; the next start makes a new journal in its place" for name in missing]
    problems += [f"{journal.file}: {words}" for journal in journals for words in journal.problems]
    if as_json:
        document = {
            "folder": str(folder),
            "postgres": postgres,
            "journals": [asdict(journal) for journal in journals],
            "problems": problems,
        }
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        click.echo(f"Journals in {folder}; PostgreSQL: {postgres}")
        _print(journals, known=checkpoints is not None)
        for problem in problems:
            click.echo(f"! {problem}")
    return ExitCode.FAILURE if problems else ExitCode.OK


async def _checkpoints(config: Config) -> tuple[Checkpoints | None, str]:
    """Ask PostgreSQL how far it has each journal, and say whether it answers."""

    async def work(connection: Any) -> Checkpoints:
        rows = await database.within(_DATABASE_TIMEOUT_S, connection, connection.fetch(statement("audit_checkpoints")))
        return {row["journal_id"]: Checkpoint(**row) for row in rows}

    try:
        url = database_url(config)
        found = await database.with_connection(url, "hseie journal status", work, _DATABASE_TIMEOUT_S)
    except (*DATABASE_ERRORS, NotReachableError) as error:
        return None, str(error) or "does not answer"
    return found, "answers"


def _print(journals: list[JournalStatus], *, known: bool) -> None:
    columns = ("shard", "state", "frames", "bytes", "on disk", "oldest", "newest", "forgotten", "committed", "waiting")
    rows = [
        (
            f"{journal.shard} of {journal.shards}",
            journal.state,
            str(journal.frames),
            _size(journal.frame_bytes),
            _size(journal.disk_bytes),
            _seq(journal.oldest_seq),
            _seq(journal.newest_seq),
            _seq(journal.pruned_seq),
            _seq(journal.committed_seq) if known else "unknown",
            ", ".join(f"{count} {kind}" for kind, count in journal.readings_waiting.items() if count) or "-",
            journal.journal_id,
        )
        for journal in journals
    ]
    print_table((*columns, "id"), rows, right=columns[2:-1])


def _seq(seq: int | None) -> str:
    return "-" if seq is None else str(seq)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
