"""Whether the archive's folder is one that days can go to: looked at before the first of them wants to.

What cannot come right by itself is told apart from what may, as a disk that is not mounted.
"""

import asyncio
import os
from collections.abc import Container
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from hseie import archive_files, database
from hseie.config import Config
from hseie.database import statement
from hseie.errors import ArchiveMisplacedError, ArchiveUnavailableError, ConfigError

LOOK_S = 5.0
_ASK_S = 5.0

_looking: dict[Path, Thread] = {}


async def look(folder: Path, identity: str | None, used: bool) -> None:
    """Raise what keeps the folder from being the archive of the database with this identity; None: of any.

    ArchiveMisplacedError for what somebody has to correct, else ArchiveUnavailableError, also where the folder does not
    answer: the disks of archives are often another machine's. Nothing is changed.
    """
    hung = ArchiveUnavailableError(f"the archive {folder} does not answer: does its disk?")
    if (former := _looking.get(folder)) is not None and former.is_alive():
        raise hung  # and no more threads for it
    found: Future[None] = Future()

    def work() -> None:
        found.set_running_or_notify_cancel()
        try:
            _look(folder, identity, used)
        except Exception as error:
            found.set_exception(error)
        else:
            found.set_result(None)

    # No process waits for such a thread at its end, as it would for those of a pool.
    _looking[folder] = thread = Thread(target=work, name="archive-look", daemon=True)
    thread.start()
    try:
        await asyncio.wait_for(asyncio.wrap_future(found), LOOK_S)
    except TimeoutError:
        raise hung from None


def _look(folder: Path, identity: str | None, used: bool) -> None:
    with archive_files.told(folder):
        found = archive_files.whose(folder, identity, used)
        there = folder if found else next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ArchiveMisplacedError(f"{there} is not a folder, so {folder} cannot be the archive")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ArchiveUnavailableError(f"the archive {folder}: {there} cannot be written by this user")


async def check_at_start(config: Config) -> None:
    """Raise ConfigError where the folder can be nobody's archive.

    Whose it is only PostgreSQL can tell, for which no start waits: maintenance says so then, in its first round.
    """
    try:
        await look(config.archive_dir, None, used=False)
    except ArchiveMisplacedError as error:
        raise ConfigError(f"retention.archive: {error}") from None
    except ArchiveUnavailableError:
        pass  # as above


async def check_at_reload(postgres_url: str, config: Config, changed: Container[str]) -> list[str]:
    """Return what is wrong with the folder, nothing where all is well.

    Raises ConfigError where that cannot come right by itself and `retention.archive` is among the keys that `changed`.
    """
    row = None
    with suppress(*database.DATABASE_ERRORS):  # without it, what can be seen of the folder alone
        row = await database.with_connection(postgres_url, "hseie reload", _identity, _ASK_S)
    try:
        await look(config.archive_dir, row and row["identity"], bool(row and row["used"]))
    except ArchiveUnavailableError as error:
        if isinstance(error, ArchiveMisplacedError) and "retention.archive" in changed:
            raise ConfigError(f"retention.archive: {error}") from None
        return [f"retention.archive: {error}"]
    return []


async def _identity(connection: Any) -> Any:
    return await database.within(_ASK_S, connection, connection.fetchrow(statement("archive_identity")))
