"""API keys as a process holds them, and the devices that each key has reported for.

Both are read from one SQLite file (`key_store` changes it), so that devices are let in while PostgreSQL is away, also
at a start. A change is noticed at the next `refresh`, which a process calls about once a second.
"""

import hmac
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path

import orjson

from hseie import clock
from hseie.access import Key
from hseie.errors import KeysFileError
from hseie.key_text import digest, split_key
from hseie.keys_file import NotMadeError, WatchedFile, change_token, explained, read_keys, transaction
from hseie.resources import sql

_BUSY_RING_S = 0.1  # a process waits with all that it does, but readers are hardly ever kept out
_BUSY_LOOP_S = 0.005  # for another writer; some hundred devices are admitted in that time
_BACK_OFF_S = 0.1
_NOBODY = digest("")  # compared with where there is no such key, so that it takes as long
_DAMAGE = (sqlite3.Error, OSError, NotMadeError, KeysFileError)


class KeyRing:
    """The keys as one process holds them; looking one up touches no file.

    `problem` says what is wrong with the file, empty when nothing is: the ring is then as it was before, which at the
    start is empty, so that nobody gets in. `refreshed_at` is when the file was last looked at and found good (monotonic
    seconds), 0 for never.
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self.refreshed_at = 0.0
        self._file = WatchedFile(path, "ro", _BUSY_RING_S)
        self._token = ""
        self._keys: dict[str, Key] = {}
        self._unread = False  # there is a file, or was one, that could not be read
        self._damaged: frozenset[str] = frozenset()
        self.refresh()

    @property
    def keys(self) -> int:
        """How many keys there are, also those that are revoked or expired."""
        return len(self._keys)

    def find(self, presented: str) -> Key | None:
        """Return the key whose whole text somebody presents. Whether it is good at this time, the key can tell."""
        parts = split_key(presented)
        if parts is None:
            return None
        key = self._keys.get(parts[0])
        same = hmac.compare_digest(digest(parts[1]), _NOBODY if key is None else key.digest)
        return key if same and key is not None else None

    def doubt(self, presented: str) -> str:
        """Say why nobody can tell whether a key that was not found is good; nothing where it certainly is not."""
        parts = split_key(presented)
        if parts is None:
            return ""
        if self._unread:
            return "the file of the keys cannot be read, and this key is not one of those known before"
        return "what the file of the keys says of this key is damaged" if parts[0] in self._damaged else ""

    def refresh(self) -> bool:
        """Read the keys again if they were changed; tell whether they were. To be called about once a second."""
        try:
            changed = self._file.has_changed() and self._read()
        except _DAMAGE as error:
            self._file.close()
            self._token = ""
            self._unread = bool(self._keys) or not isinstance(error, FileNotFoundError | NotMadeError)
            self.problem = explained(self._file.path, error)
            if self._keys:
                self.problem += f"; the {self.keys} keys known before stay in force until a restart"
            return False
        self.refreshed_at = time.monotonic()
        self._unread = False
        return changed

    def close(self) -> None:
        self._file.close()

    def _read(self) -> bool:
        database = self._file.database()
        with transaction(database, "DEFERRED"):
            token = change_token(database, "keys")
            if token == self._token:
                return False  # only devices were written
            listed, damaged = read_keys(database)
        self.problem = f"{self._file.path}: damaged keys let nobody in: {', '.join(damaged)}" if damaged else ""
        self._damaged = frozenset(damaged)
        keys = {item.key.key_id: item.key for item in listed}
        changed = keys != self._keys
        # One that is as it was stays the same object: what is remembered of it stays good.
        keys |= {key_id: key for key_id, key in self._keys.items() if keys.get(key_id) == key}
        self._token, self._keys = token, keys
        return changed


class DeviceRegistry:
    """Admits devices of keys up to their `devices_max`, exactly, across processes and restarts.

    It remembers nothing of them: who asks does (`admission`), and asks for all the new ones of a request at once.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "rw", _BUSY_LOOP_S)
        self._token = ""
        self._again_at = 0.0
        self._trouble = ""
        self.generation = 0  # another one: who has remembered an answer asks again
        self.monotonic_s = time.monotonic

    def admit(self, key: Key, devices: Collection[str]) -> set[str]:
        """Return those of some devices that a key may not report for; the others have a place from then on.

        All of it in one transaction, or nothing. Raises KeysFileError where the file cannot tell at the moment, and for
        a tenth of a second after that without looking: whoever keeps it locked shall not keep us waiting, too.
        """
        if not key.devices_max:
            return set()
        now = self.monotonic_s()
        if now < self._again_at:
            raise KeysFileError(self._trouble)
        try:
            return self._ask(key.key_id, devices)
        except _DAMAGE as error:
            self._file.close()
            self._again_at = now + _BACK_OFF_S
            self._trouble = explained(self._file.path, error)
            raise KeysFileError(self._trouble) from error

    def refresh(self) -> None:
        """Notice that an operator had devices forgotten. To be called about once a second."""
        try:
            self._look_for_changes()
        except _DAMAGE:
            self._file.close()  # what is known stays known; what is not is asked for, and that says what is wrong

    def close(self) -> None:
        self._file.close()

    def _look_for_changes(self) -> None:
        if self._file.has_changed():
            token = change_token(self._file.database(), "devices")
            if token != self._token:
                self.generation += 1
            self._token = token

    def _ask(self, key_id: str, devices: Collection[str]) -> set[str]:
        database = self._file.database()
        room, strange = _room(database, key_id), _strange(database, key_id, devices)
        if not strange or room <= 0:
            return set(strange)  # without keeping anybody from writing
        with transaction(database):
            room, strange = _room(database, key_id), _strange(database, key_id, strange)
            admitted = strange[: max(room, 0)]
            database.execute(sql("keys", "device_admit"), (key_id, clock.unix_s(), orjson.dumps(admitted).decode()))
        return set(strange[len(admitted) :])


def _room(database: sqlite3.Connection, key_id: str) -> int:
    """Return for how many devices more a key may report; none where it was removed."""
    found = database.execute(sql("keys", "device_room"), (key_id,)).fetchone()
    return 0 if found is None else int(found[0])


def _strange(database: sqlite3.Connection, key_id: str, devices: Collection[str]) -> list[str]:
    """Return those devices that a key has not reported for, in their order."""
    asked = orjson.dumps(list(devices)).decode()
    return [device for (device,) in database.execute(sql("keys", "device_strange"), (asked, key_id))]
