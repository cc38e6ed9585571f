"""API keys as a process holds them, and the devices that each key has reported for.

Both are read from one SQLite file (`key_store` changes it), so that devices are let in while PostgreSQL is away, also
at a start. A change is noticed at the next `refresh`, which a process calls about once a second.
"""

import hmac
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from hseie import clock
from hseie.access import Key
from hseie.errors import KeysFileError
from hseie.key_text import digest, split_key
from hseie.keys_file import NotMadeError, WatchedFile, change_token, explained, read_keys, transaction
from hseie.resources import sql

DEVICES_HELD_MAX = 500_000  # in the memory of one process, over all keys: about 100 bytes each

_BUSY_PROCESS_S = 0.1  # a process waits with all that it does
_NOBODY = digest("")  # compared with where there is no such key, so that it takes as long
_DAMAGE = (sqlite3.Error, OSError, NotMadeError, KeysFileError)


class KeyRing:
    """The keys as one process holds them; looking one up touches no file.

    `problem` says what is wrong with the file, empty when nothing is: the ring is then as it was before, which at the
    start is empty, so that nobody gets in. `refreshed_at` is when the file was last found good (Unix seconds).
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self.refreshed_at = 0.0
        self._file = WatchedFile(path, "ro", _BUSY_PROCESS_S)
        self._token = ""
        self._keys: dict[str, Key] = {}
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

    def refresh(self) -> bool:
        """Read the keys again if they were changed; tell whether they were. To be called about once a second."""
        try:
            changed = self._file.has_changed() and self._read()
        except _DAMAGE as error:
            self._file.close()
            self._token = ""
            self.problem = explained(self._file.path, error)
            if self._keys:
                self.problem += f"; the {self.keys} keys known before stay in force until a restart"
            return False
        self.refreshed_at = clock.unix_s()
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
        keys = {item.key.key_id: item.key for item in listed}
        changed = keys != self._keys
        self._token, self._keys = token, keys
        return changed


class DeviceRegistry:
    """Admits devices of keys up to their `devices_max`, exactly, across processes and restarts."""

    def __init__(self, path: Path, devices_held_max: int = DEVICES_HELD_MAX) -> None:
        self._file = WatchedFile(path, "rw", _BUSY_PROCESS_S)
        self._held_max = devices_held_max
        self._held = 0
        self._known: dict[str, set[str]] = {}
        self._complete: set[str] = set()  # keys that are full, and whose devices are all in `_known`
        self._token = ""
        self.generation = 0  # another one: who has remembered an answer asks again

    def admit(self, key: Key, device: str) -> bool:
        """Tell whether a key may report for a device; one that it has not reported for takes a place from then on.

        Raises KeysFileError where the file cannot tell at the moment. A device that is known costs no look at it.
        """
        if not key.devices_max or device in self._known.get(key.key_id, ()):
            return True
        if key.key_id in self._complete:
            return False
        try:
            return self._ask(key.key_id, device)
        except _DAMAGE as error:
            self._file.close()
            raise KeysFileError(explained(self._file.path, error)) from error

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
                self._forget()
            self._token = token

    def _ask(self, key_id: str, device: str) -> bool:
        database = self._file.database()
        while True:
            found = database.execute(sql("keys", "device_find"), (device, key_id)).fetchone()
            if found is None:
                return False  # the key was removed
            full, there = found
            if there:
                break
            if full:
                self._complete_from(database, key_id)
                return False
            # One statement is one transaction. Where it does nothing, another process was quicker.
            if database.execute(sql("keys", "device_admit"), (device, clock.unix_s(), key_id)).rowcount:
                break
        self._remember(key_id, [device])
        return True

    def _complete_from(self, database: sqlite3.Connection, key_id: str) -> None:
        """Get all devices of a full key into memory, so that those it may not report for cost no look at the file."""
        devices = [device for device, _ in database.execute(sql("keys", "device_list"), (key_id,))]
        if len(devices) <= self._held_max // 2:
            self._remember(key_id, devices)
            self._complete.add(key_id)

    def _remember(self, key_id: str, devices: Sequence[str]) -> None:
        if self._held + len(devices) > self._held_max:
            self._forget()
        known = self._known.setdefault(key_id, set())
        self._held -= len(known)
        known.update(devices)
        self._held += len(known)

    def _forget(self) -> None:
        self.generation += 1
        self._known.clear()
        self._complete.clear()
        self._held = 0
