"""The SQLite file of the API keys: made for the user who runs the node, opened, and watched for changes.

Only SQLite may open it in a process that has it open: closing it otherwise would take away the locks that SQLite has
on it (POSIX). Who it belongs to and whether it was replaced is asked by its name.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from shlex import quote as quote_word
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from hseie.access import Key
from hseie.durable import sync_folder
from hseie.errors import KeysFileError
from hseie.key_text import KEYS_MAX
from hseie.resources import sql

VERSION = 2  # of the schema: PRAGMA user_version

_MODE = 0o600
_FOLDER_MODE = 0o755
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_BUSY_OPERATOR_S = 5.0
_CACHE_KIB = 1024
_DIGEST_BYTES = 32


class NotMadeError(Exception):
    """The file has no tables yet: somebody is just making it, or did not come to the end."""


def make_file(path: Path) -> sqlite3.Connection:
    """Open the file to change keys; make it first where it is not there, for the owner of its folder.

    Raises KeysFileError.
    """
    try:
        _make_empty(path)
        _check_writers(path)
        database = _connect(path, "rw", _BUSY_OPERATOR_S)
    except (sqlite3.Error, OSError) as error:
        raise KeysFileError(explained(path, error)) from error
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # what an operator was told lasts
        if not _is_made(path, database):
            database.executescript(f"BEGIN IMMEDIATE; {sql('keys', 'schema')} COMMIT;")
            sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        database.close()
        raise KeysFileError(explained(path, error)) from error
    except KeysFileError:
        database.close()
        raise
    return database


def open_file(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    """Open a file that is there; `mode` is "ro" or "rw".

    Raises sqlite3.Error, OSError, NotMadeError, and KeysFileError for that of another version or one that others may
    write.
    """
    _check_writers(path)
    database = _connect(path, mode, timeout_s)
    try:
        if not _is_made(path, database):
            raise NotMadeError
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, how: str = "IMMEDIATE") -> Iterator[None]:
    """Do all of it or nothing. "IMMEDIATE" keeps other writers out from the start, "DEFERRED" only reads."""
    database.execute(f"BEGIN {how}")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


class WatchedFile:
    """A connection to the file that is opened when there is something to open, and again when another has its name."""

    def __init__(self, path: Path, mode: str, timeout_s: float) -> None:
        self.path = path
        self._mode = mode
        self._timeout_s = timeout_s
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version: int | None = None

    def database(self) -> sqlite3.Connection:
        """Return the connection. Raises what `open_file` raises."""
        status = self.path.stat()
        identity = status.st_dev, status.st_ino
        if self._database is None or identity != self._identity:
            self.close()
            self._database = open_file(self.path, self._mode, self._timeout_s)
            self._identity = identity
        return self._database

    def has_changed(self) -> bool:
        """Tell whether somebody else has written since the last look, or the file was opened anew. Microseconds.

        Raises what `open_file` raises.
        """
        (version,) = self.database().execute("PRAGMA data_version").fetchone()
        former, self._version = self._version, int(version)
        return self._version != former

    def close(self) -> None:
        """Close it; the next use opens it again."""
        if self._database is not None:
            self._database.close()
        self._database, self._version = None, None


def explained(path: Path, error: Exception) -> str:
    """Say what is wrong with the file, and what to do about it."""
    if isinstance(error, KeysFileError):
        return str(error)
    if isinstance(error, FileNotFoundError | NotMadeError):
        return f"{path}: there are no API keys yet; `hseie keys create` makes the first"
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"{path}: another process is writing the API keys ({text}); try again"
    if "not a database" in text or "malformed" in text or "no such" in text:
        return (
            f"{path}: the file of the API keys is damaged ({text}); with the node stopped put back a copy of it, or "
            "move it away with its -wal and -shm and create keys anew"
        )
    return (
        f"{path}: the file of the API keys cannot be used ({text}); it and its folder must belong to the user who runs "
        "the node, and its disk must have room"
    )


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key, and for how many devices it has reported; that is counted only where it has a `devices_max`."""

    key: Key
    devices_seen: int


def change_token(database: sqlite3.Connection, what: str) -> str:
    """Return the token that is another one after each change of the "keys" or the "devices". Raises sqlite3.Error."""
    found = database.execute(sql("keys", "change_token"), (what,)).fetchone()
    if found is None:
        raise sqlite3.DatabaseError(f"no such token: {what}")
    return str(found[0])


def read_keys(database: sqlite3.Connection) -> tuple[list[ListedKey], list[str]]:
    """Return the keys, the oldest first, and the ids of rows that are damaged. Raises sqlite3.Error."""
    keys, damaged = [], []
    for row in database.execute(sql("keys", "key_list")).fetchall():
        try:
            keys.append(ListedKey(_key(row), row[-1]))
        except (ValueError, msgspec.ValidationError):
            damaged.append(str(row[0]))
    return keys, damaged


def write_key(database: sqlite3.Connection, key: Key) -> None:
    """Add a key. Raises sqlite3.Error."""
    row = (
        *(key.key_id, key.name, key.digest, orjson.dumps(sorted(key.scopes)).decode()),
        *(orjson.dumps(sorted(texts)).decode() for texts in (key.devices.named, key.devices.prefixes)),
        key.devices.all,
        *(key.readings_per_s, key.burst_readings, key.devices_max, key.place, key.created_at, key.expires_at),
    )
    database.execute(sql("keys", "key_insert"), row)


def _key(row: Sequence[Any]) -> Key:
    """Return the key of a row of `key_list`. Raises ValueError and msgspec.ValidationError for one that is damaged."""
    key_id, name, digest, scopes, named, prefixes, every, *rest = row[:-1]
    devices = {"named": orjson.loads(named), "prefixes": orjson.loads(prefixes), "all": every == 1}
    values = (key_id, name, digest, orjson.loads(scopes), devices, *rest)
    names = (field.name for field in fields(Key))
    key = msgspec.convert(dict(zip(names, values, strict=True)), Key, builtin_types=(bytes,))
    if not key.devices.is_sound:
        raise ValueError("neither all devices nor some")
    if len(key.digest) != _DIGEST_BYTES or not 0 <= key.place < KEYS_MAX:
        raise ValueError("no digest or place of ours")
    return key


def _make_folder(folder: Path) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        with contextlib.suppress(FileExistsError):
            missing.mkdir(mode=_FOLDER_MODE)
            _give_to_owner_of(missing.parent, missing)


def _give_to_owner_of(folder: Path, made: Path | int) -> None:
    """Where we are root, give what we have made in a folder to the folder's owner, who is to use it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        if isinstance(made, int):
            os.fchown(made, owner.st_uid, owner.st_gid)
        else:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _make_empty(path: Path) -> None:
    _make_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    except FileExistsError:
        return
    # It is new, so nobody in this process can have a lock on it that closing it would take away.
    try:
        _give_to_owner_of(path.parent, descriptor)  # SQLite gives what it makes beside it to the same owner
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_writers(path: Path) -> None:
    """Raise KeysFileError where others than the owner may write the file or its folder, FileNotFoundError without one.

    Whoever may write it makes keys for himself; whoever may write the folder puts another file there.
    """
    for each in (path, path.parent):
        if each.stat().st_mode & _OTHERS_WRITE:
            raise KeysFileError(
                f"{each} can be written by others than its owner, who could let themselves in with it; "
                f"`chmod go-w {quote_word(str(each))}`"
            )


def _connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode={mode}"
    database = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout_s)
    try:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        database.close()
        raise
    return database


def _is_made(path: Path, database: sqlite3.Connection) -> bool:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise KeysFileError(f"{path} was made by a later version of HSEIE; use that one")
    if 0 < version < VERSION:
        raise KeysFileError(
            f"{path} was made by a version of HSEIE before the first release; move it away with its -wal and -shm and "
            "create the keys anew"
        )
    return bool(version)
