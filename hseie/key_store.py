"""The store of the API keys, for the commands that change it, with the node running or not."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from hseie.access import Devices, Key, Scope
from hseie.errors import KeyRefusedError, KeysFileError
from hseie.key_text import KEYS_MAX, devices_mistake, digest, key_text, name_mistake, new_key, pasted_key_id
from hseie.keys_file import ListedKey, explained, make_file, read_keys, transaction, write_key
from hseie.resources import sql


class KeyStore:
    """The file, for the commands that change it. Every change is durable when its method returns.

    All methods raise KeysFileError where the file cannot be read or written; nothing has changed then. `damaged` names
    keys that the last look could not read: they let nobody in.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self.damaged: list[str] = []

    @classmethod
    def open(cls, path: Path, create: bool = False) -> "KeyStore":
        """Open the file; where it is not there, make it if `create` says so.

        Raises KeysFileError, and KeyRefusedError where there is none and none is to be made.
        """
        if not create and not path.exists():
            raise KeyRefusedError(explained(path, FileNotFoundError()))
        return cls(path, make_file(path))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "KeyStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(
        self,
        name: str,
        scopes: Iterable[Scope],
        devices: Devices,
        readings_per_s: float,
        burst_readings: int,
        devices_max: int,
        expires_at: float | None,
        now: float,
    ) -> tuple[Key, str]:
        """Make a key; return it and its whole text, which nobody can tell again.

        Raises KeyRefusedError where there is no room for another, or what is asked for cannot be.
        """
        if mistake := name_mistake(name) or devices_mistake(devices.named, devices.prefixes):
            raise KeyRefusedError(mistake)
        if not devices.is_sound:
            raise KeyRefusedError("a key is for all devices or for some, not for both and not for none")
        key_id, secret = new_key()
        key = Key(
            key_id=key_id,
            name=name,
            digest=digest(secret),
            scopes=frozenset(scopes),
            devices=devices,
            readings_per_s=readings_per_s,
            burst_readings=burst_readings,
            devices_max=devices_max,
            place=0,
            created_at=now,
            expires_at=expires_at,
        )
        with self._transaction():
            (place,) = self._database.execute(sql("keys", "key_place")).fetchone()
            if place >= KEYS_MAX:
                raise KeyRefusedError(f"there are {KEYS_MAX} keys already; `hseie keys remove` those that are revoked")
            key = replace(key, place=place)
            write_key(self._database, key)
        return key, key_text(key_id, secret)

    def all_keys(self) -> list[ListedKey]:
        """Return all keys, the oldest first; also those that are revoked or expired."""
        with self._transaction("DEFERRED"):
            keys, self.damaged = read_keys(self._database)
        return keys

    def find(self, words: str) -> Key:
        """Return the key of an id, of a name that only one has, or of a whole key that somebody pasted.

        Raises KeyRefusedError, which does not repeat the words: they may be a secret.
        """
        keys = [listed.key for listed in self.all_keys()]
        key_id = pasted_key_id(words) or words
        found = [key for key in keys if key.key_id == key_id] or [key for key in keys if key.name == words]
        if not found:
            raise KeyRefusedError("there is no key of that id or name; `hseie keys list --all` shows all there are")
        if len(found) > 1:
            ids = ", ".join(key.key_id for key in found)
            raise KeyRefusedError(f"several keys have that name; name one by its id: {ids}")
        return found[0]

    def revoke(self, key_ids: Sequence[str], now: float) -> int:
        """Revoke keys for good, all or none; return how many were not revoked before."""
        with self._transaction():
            return sum(self._database.execute(sql("keys", "key_revoke"), (now, key_id)).rowcount for key_id in key_ids)

    def change(self, key: Key) -> None:
        """Give a key the limits and the end that `key` has. Raises KeyRefusedError where it is revoked, or gone."""
        values = key.readings_per_s, key.burst_readings, key.devices_max, key.expires_at, key.key_id
        with self._transaction():
            if not self._database.execute(sql("keys", "key_change"), values).rowcount:
                raise KeyRefusedError(f"key {key.key_id} is revoked, for good; `hseie keys create` makes another")

    def remove(self, key_id: str, now: float) -> None:
        """Delete a key with its devices, and free its place. Raises KeyRefusedError while it lets somebody in."""
        with self._transaction():
            if not self._database.execute(sql("keys", "key_remove"), (key_id, now)).rowcount:
                raise KeyRefusedError(f"key {key_id} still lets its holder in; `hseie keys revoke {key_id}` first")

    def devices(self, key_id: str) -> list[tuple[str, float]]:
        """Return the devices that a key was admitted for, and when first (Unix seconds)."""
        with self._transaction("DEFERRED"):
            return list(self._database.execute(sql("keys", "device_list"), (key_id,)))

    def forget(self, key_id: str, device: str | None) -> int:
        """Forget a device of a key, or all of them (None), so that others may take the place; return how many."""
        with self._transaction():
            if device is None:
                return self._database.execute(sql("keys", "device_forget_all"), (key_id,)).rowcount
            return self._database.execute(sql("keys", "device_forget"), (key_id, device)).rowcount

    @contextlib.contextmanager
    def _transaction(self, how: str = "IMMEDIATE") -> Iterator[None]:
        try:
            with transaction(self._database, how):
                yield
        except sqlite3.Error as error:
            raise KeysFileError(explained(self._path, error)) from error
