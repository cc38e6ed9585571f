"""API keys in their file: the store, the ring that a process holds, and the registry of devices."""

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hseie import key_text, keys, keys_file
from hseie.access import ALL_DEVICES, Devices, Key
from hseie.errors import KeyRefusedError, KeysFileError
from hseie.key_store import KeyStore
from hseie.keys import DeviceRegistry, KeyRing

NOW = 1_795_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    with KeyStore.open(path, create=True) as store:
        yield store


@pytest.fixture
def ring(path: Path) -> Iterator[KeyRing]:
    ring = KeyRing(path)
    yield ring
    ring.close()


@pytest.fixture
def registries(path: Path) -> Iterator[list[DeviceRegistry]]:
    """Two of them, as two processes have."""
    found = [DeviceRegistry(path), DeviceRegistry(path)]
    yield found
    for registry in found:
        registry.close()


def make(store: KeyStore, name: str = "fleet", **more: Any) -> tuple[Key, str]:
    wanted: dict[str, Any] = {
        "scopes": {"ingest"},
        "devices": ALL_DEVICES,
        "readings_per_s": 0.0,
        "burst_readings": 0,
        "devices_max": 0,
        "expires_at": None,
        "now": NOW,
    }
    return store.create(name, **{**wanted, **more})


def admit(registry: DeviceRegistry, key: Key, device: str) -> bool:
    """Whether a key may report for a device, asked for alone."""
    return not registry.admit(key, [device])


def by_hand(path: Path, statement: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement)
    database.close()


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_key_comes_back_as_it_was_made(store: KeyStore, ring: KeyRing) -> None:
    devices = Devices(frozenset({"METER_1", "METER_2"}), ("A", "B."))
    key, text = make(
        store,
        "Zählerpark",
        scopes={"ingest", "read"},
        devices=devices,
        readings_per_s=0.5,
        burst_readings=1000,
        devices_max=7,
        expires_at=NOW + 10,
    )
    secret = text.split("_", 2)[2]
    assert key == Key(
        key_id=text[6:16],
        name="Zählerpark",
        digest=hashlib.sha256(secret.encode()).digest(),
        scopes=frozenset({"ingest", "read"}),
        devices=devices,
        readings_per_s=0.5,
        burst_readings=1000,
        devices_max=7,
        place=0,
        created_at=NOW,
        expires_at=NOW + 10,
    )
    assert [listed.key for listed in store.all_keys()] == [key]
    ring.refresh()
    assert ring.find(text) == key


def test_the_secret_is_in_no_file(store: KeyStore, path: Path) -> None:
    _, text = make(store)
    secret = text.split("_", 2)[2].encode()
    store.close()
    assert all(secret not in file.read_bytes() for file in path.parent.iterdir())


def test_places_are_the_lowest_free_ones(store: KeyStore) -> None:
    made = [make(store)[0] for _ in range(4)]
    assert [key.place for key in made] == [0, 1, 2, 3]
    store.revoke([made[0].key_id, made[2].key_id], NOW)
    assert make(store)[0].place == 4  # a revoked key still has its own
    store.remove(made[2].key_id, NOW)
    store.remove(made[0].key_id, NOW)
    assert [make(store)[0].place for _ in range(3)] == [0, 2, 5]


def test_there_are_so_many_keys_and_no_more(store: KeyStore, ring: KeyRing) -> None:
    store._database.execute("PRAGMA synchronous = OFF")  # 4096 syncs tell nothing more
    made = [make(store, f"key {number}")[0] for number in range(key_text.KEYS_MAX)]
    assert {key.place for key in made} == set(range(key_text.KEYS_MAX))
    with pytest.raises(KeyRefusedError, match=r"4096 keys already; `hseie keys remove`"):
        make(store)
    ring.refresh()
    assert (ring.keys, ring.problem) == (4096, "")
    store.revoke([made[77].key_id], NOW)
    store.remove(made[77].key_id, NOW)
    assert make(store)[0].place == 77


def test_a_key_is_found_by_its_id_its_name_or_itself(store: KeyStore) -> None:
    key, text = make(store, "north")
    twin, _ = make(store, "north")
    other, _ = make(store, key.key_id)  # named as the other's id: the id counts
    assert store.find(key.key_id) == key
    assert store.find(f"Bearer {text}") == key
    assert store.find(other.key_id) == other
    with pytest.raises(KeyRefusedError, match=rf"several keys have that name.*{key.key_id}, {twin.key_id}"):
        store.find("north")


@pytest.mark.parametrize("words", ["nothing", key_text.key_text("zzzzzzzzzz", 43 * "s"), 43 * "s"])
def test_what_is_no_key_is_not_repeated(store: KeyStore, words: str) -> None:
    with pytest.raises(KeyRefusedError, match="no key of that id or name") as caught:
        store.find(words)
    assert words not in str(caught.value)


def test_what_cannot_be_a_key_is_not_made(store: KeyStore) -> None:
    with pytest.raises(KeyRefusedError, match="printable"):
        make(store, "")
    for none_or_both in (Devices(), Devices(frozenset({"A"}), all=True)):
        with pytest.raises(KeyRefusedError, match="all devices or for some"):
            make(store, devices=none_or_both)
    with pytest.raises(KeyRefusedError, match="no device id"):
        make(store, devices=Devices(frozenset({"a b"})))
    assert store.all_keys() == []


def test_revoked_is_revoked_once_and_for_good(store: KeyStore) -> None:
    key, _ = make(store)
    assert store.revoke([key.key_id], NOW + 1) == 1
    assert store.revoke([key.key_id], NOW + 2) == 0
    assert store.find(key.key_id).revoked_at == NOW + 1


def test_only_a_key_that_lets_nobody_in_is_removed(store: KeyStore) -> None:
    good, expiring = make(store)[0], make(store, expires_at=NOW + 10)[0]
    for key in (good, expiring):
        with pytest.raises(KeyRefusedError, match=f"still lets its holder in; `hseie keys revoke {key.key_id}`"):
            store.remove(key.key_id, NOW + 9)
    store.remove(expiring.key_id, NOW + 10)
    assert [listed.key for listed in store.all_keys()] == [good]


def test_where_there_is_no_file_none_is_made_by_looking(path: Path) -> None:
    with pytest.raises(KeyRefusedError, match="no API keys yet; `hseie keys create`"):
        KeyStore.open(path)
    assert not path.parent.exists()


def test_the_file_of_a_later_version_is_left_alone(store: KeyStore, path: Path, ring: KeyRing) -> None:
    by_hand(path, f"PRAGMA user_version = {keys_file.VERSION + 1}")
    with pytest.raises(KeysFileError, match="made by a later version"):
        KeyStore.open(path)
    fresh = KeyRing(path)
    assert (fresh.keys, "made by a later version" in fresh.problem) == (0, True)
    fresh.close()


def test_a_file_from_before_the_first_release_is_refused(store: KeyStore, path: Path) -> None:
    """There an empty list of devices meant all of them."""
    by_hand(path, "PRAGMA user_version = 1")
    with pytest.raises(KeysFileError, match="before the first release; move it away"):
        KeyStore.open(path)
    fresh = KeyRing(path)
    assert (fresh.keys, "before the first release" in fresh.problem) == (0, True)
    fresh.close()


def test_a_file_that_somebody_keeps_locked_is_an_error_that_says_so(store: KeyStore, path: Path) -> None:
    key, _ = make(store)
    store._database.execute("PRAGMA busy_timeout = 10")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(KeysFileError, match="another process is writing"):
        store.revoke([key.key_id], NOW)
    holder.close()
    assert store.find(key.key_id).revoked_at is None
    assert store.revoke([key.key_id], NOW) == 1


# --- the ring ---------------------------------------------------------------------------------------------------------


def test_nobody_gets_in_until_there_is_a_file(path: Path, ring: KeyRing) -> None:
    assert (ring.keys, ring.refreshed_at, ring.refresh()) == (0, 0.0, False)
    assert "no API keys yet; `hseie keys create`" in ring.problem
    path.parent.mkdir()
    path.touch(0o600)  # it is just being made
    assert ring.refresh() is False
    assert "no API keys yet" in ring.problem
    with KeyStore.open(path, create=True) as store:
        key, text = make(store)
        assert ring.find(text) is None
        assert ring.refresh() is True
    assert (ring.find(text), ring.problem) == (key, "")
    assert ring.refreshed_at > 0


def test_what_another_changes_is_seen_at_the_next_look(store: KeyStore, ring: KeyRing) -> None:
    assert [ring.refresh(), ring.refresh()] == [False, False]
    key, text = make(store)
    assert [ring.refresh(), ring.refresh(), ring.keys] == [True, False, 1]
    store.revoke([key.key_id], NOW)
    found = ring.find(text)
    assert found is not None
    assert found.is_good(NOW)
    assert ring.refresh() is True
    found = ring.find(text)
    assert found is not None
    assert not found.is_good(NOW)
    store.remove(key.key_id, NOW)
    assert [ring.refresh(), ring.find(text), ring.keys] == [True, None, 0]


def test_a_wrong_secret_opens_nothing(store: KeyStore, ring: KeyRing) -> None:
    key, text = make(store)
    ring.refresh()
    other = key_text.key_text("aaaaaaaaaa", text.split("_", 2)[2])
    wrong = [text[:-1] + ("A" if text[-1] != "A" else "B"), text.upper(), text + "x", text[:-1], other, key.key_id, ""]
    assert [ring.find(presented) for presented in wrong] == [None] * len(wrong)
    assert ring.find(text) == key


def test_an_unknown_id_costs_a_digest_and_a_comparison_too(
    store: KeyStore, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = make(store)
    ring.refresh()
    seen: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    assert ring.find(text) is not None
    assert ring.find(key_text.key_text("aaaaaaaaaa", 43 * "s")) is None
    assert ring.find(key_text.key_text("aaaaaaaaaa", "")) is None
    assert seen == [(32, 32), (32, 32)]


def test_the_digest_that_nobody_has_opens_nothing(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    # Even somebody who finds a secret for it is not let in: there is no such key.
    monkeypatch.setattr(keys, "_NOBODY", key_text.digest(43 * "s"))
    assert ring.find(key_text.key_text("aaaaaaaaaa", 43 * "s")) is None


def test_devices_that_are_written_do_not_make_keys_be_read_again(
    store: KeyStore, ring: KeyRing, registries: list[DeviceRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, text = make(store, devices_max=3)
    ring.refresh()
    reads: list[int] = []
    monkeypatch.setattr(keys, "read_keys", lambda database: reads.append(1) or ([], []))
    assert admit(registries[0], key, "A")
    assert ring.refresh() is False
    assert (reads, ring.find(text)) == ([], key)


def test_a_damaged_file_leaves_the_ring_as_it_was_and_is_told(store: KeyStore, path: Path) -> None:
    key, text = make(store)
    store.close()
    ring = KeyRing(path)
    whole = path.read_bytes()
    ring.close()
    path.write_bytes(b"x" * len(whole))
    assert ring.refresh() is False
    assert ring.find(text) == key
    assert "is damaged" in ring.problem
    assert "the 1 keys known before stay in force" in ring.problem
    fresh = KeyRing(path)  # at a start there is nothing from before
    assert (fresh.find(text), fresh.keys, fresh.refreshed_at) == (None, 0, 0.0)
    assert "is damaged" in fresh.problem
    with pytest.raises(KeysFileError, match="is damaged"):
        KeyStore.open(path)
    path.write_bytes(whole)
    assert (ring.refresh(), ring.problem, ring.find(text)) == (False, "", key)
    assert (fresh.refresh(), fresh.problem, fresh.find(text)) == (True, "", key)
    ring.close()
    fresh.close()


def test_a_file_that_is_gone_or_replaced_is_noticed(store: KeyStore, path: Path, tmp_path: Path, ring: KeyRing) -> None:
    key, text = make(store)
    ring.refresh()
    aside = tmp_path / "aside"
    aside.mkdir()
    store.close()
    for file in list(path.parent.iterdir()):
        file.rename(aside / file.name)
    assert ring.refresh() is False
    assert "the 1 keys known before stay in force" in ring.problem
    assert ring.find(text) == key
    with KeyStore.open(path, create=True) as other:
        _, other_text = make(other, "another")
        assert ring.refresh() is True
    assert (ring.problem, ring.find(text), ring.find(other_text) is not None) == ("", None, True)


@pytest.mark.parametrize(
    "damage",
    [
        "scopes = '[\"everything\"]'",
        "scopes = 'ingest'",
        "readings_per_s = 'much'",
        "devices = '[7]', all_devices = 0",
        "devices_max = 'x'",
        "created_at = 'x'",
    ],
)
def test_a_damaged_key_lets_nobody_in_and_keeps_nobody_out(
    store: KeyStore, path: Path, ring: KeyRing, damage: str
) -> None:
    (key, text), (good, good_text) = make(store), make(store)
    by_hand(path, f"UPDATE api_key SET {damage} WHERE key_id = '{key.key_id}'")
    assert ring.refresh() is True
    assert (ring.find(text), ring.find(good_text)) == (None, good)
    assert ring.problem == f"{path}: damaged keys let nobody in: {key.key_id}"
    assert ([listed.key for listed in store.all_keys()], store.damaged) == ([good], [key.key_id])


@pytest.mark.parametrize(
    "column", ["place = 4096", "place = -1", "all_devices = 0", "prefixes = '[\"A\"]'", "digest = x'00'", "name = ''"]
)
def test_what_would_reach_beyond_is_kept_out_of_the_file(store: KeyStore, path: Path, column: str) -> None:
    make(store)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        by_hand(path, f"UPDATE api_key SET {column}")


@pytest.mark.parametrize("emptied", ["devices = '[]', prefixes = '[]'", "all_devices = 1", "all_devices = 2"])
def test_a_key_that_lost_its_devices_does_not_gain_the_fleet(
    store: KeyStore, path: Path, ring: KeyRing, emptied: str
) -> None:
    key, text = make(store, devices=Devices(frozenset({"A"}), ("B",)))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA ignore_check_constraints = ON")
    database.execute(f"UPDATE api_key SET {emptied}")
    database.close()
    ring.refresh()
    found = ring.find(text)
    assert found is None or found == key


def test_devices_that_are_neither_all_nor_named_are_none() -> None:
    assert not Devices().hold("A")
    assert ALL_DEVICES.hold("A")
    assert [Devices(frozenset({"A"}), ("B",)).hold(device) for device in ("A", "B1", "A1")] == [True, True, False]


def test_a_place_beyond_the_counters_lets_nobody_in(store: KeyStore, path: Path, ring: KeyRing) -> None:
    _, text = make(store)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA ignore_check_constraints = ON")
    database.execute("UPDATE api_key SET place = 4096")
    database.close()
    ring.refresh()
    assert (ring.find(text), "damaged keys" in ring.problem) == (None, True)


STRANGER = key_text.key_text(10 * "z", 43 * "s")


def test_of_a_key_that_is_not_there_nobody_is_in_doubt(store: KeyStore, path: Path, ring: KeyRing) -> None:
    (key, text), (_, other) = make(store), make(store)
    by_hand(path, f"UPDATE api_key SET scopes = 'x' WHERE key_id = '{key.key_id}'")
    ring.refresh()
    assert "damaged" in ring.problem
    wrong = other[:-3] + "xyz"
    assert [ring.doubt(presented) for presented in (STRANGER, wrong, "nonsense", "")] == [""] * 4
    assert ring.doubt(text) == "what the file of the keys says of this key is damaged"
    by_hand(path, f"UPDATE api_key SET scopes = '[\"ingest\"]' WHERE key_id = '{key.key_id}'")
    ring.refresh()
    assert ring.doubt(text) == ""


def test_before_the_first_key_nobody_is_in_doubt(path: Path, ring: KeyRing) -> None:
    assert ring.doubt(STRANGER) == ""
    path.parent.mkdir()
    path.touch(0o600)
    ring.refresh()
    assert ring.doubt(STRANGER) == ""


def test_a_file_that_cannot_be_read_leaves_doubt_until_it_can(store: KeyStore, path: Path, ring: KeyRing) -> None:
    make(store)
    ring.refresh()
    store.close()
    for file in list(path.parent.iterdir()):
        file.rename(path.parent.parent / file.name)
    path.write_bytes(b"no database" * 1000)
    fresh = KeyRing(path)
    ring.refresh()
    for each in (ring, fresh):
        assert "cannot be read" in each.doubt(STRANGER)
        assert each.doubt("nonsense") == ""
    path.unlink()
    ring.refresh()
    assert "cannot be read" in ring.doubt(STRANGER)  # it has been there
    for file in path.parent.parent.glob("keys.sqlite*"):
        file.rename(path.parent / file.name)
    for each in (ring, fresh):
        each.refresh()
        assert each.doubt(STRANGER) == ""
    fresh.close()


# --- the registry of devices ------------------------------------------------------------------------------------------


def test_a_key_reports_for_so_many_devices_in_all_processes(store: KeyStore, registries: list[DeviceRegistry]) -> None:
    key, _ = make(store, devices_max=3)
    one, two = registries
    assert [admit(one, key, device) for device in "ABABCD"] == [True] * 5 + [False]
    assert [admit(two, key, device) for device in "DACBE"] == [False, True, True, True, False]
    assert [device for device, _ in store.devices(key.key_id)] == ["A", "B", "C"]
    assert store.all_keys()[0].devices_seen == 3


def test_keys_are_counted_apart_and_those_without_a_limit_not_at_all(
    store: KeyStore, registries: list[DeviceRegistry]
) -> None:
    one, other, free = (make(store, devices_max=most)[0] for most in (1, 1, 0))
    registry = registries[0]
    assert [admit(registry, one, "A"), admit(registry, other, "B")] == [True, True]
    assert [admit(registry, one, "B"), admit(registry, other, "A")] == [False, False]
    assert all(admit(registry, free, f"D{number}") for number in range(10))
    assert [listed.devices_seen for listed in store.all_keys()] == [1, 1, 0]


def test_devices_are_remembered_over_a_restart(store: KeyStore, path: Path) -> None:
    key, _ = make(store, devices_max=2)
    first = DeviceRegistry(path)
    assert admit(first, key, "A")
    first.close()
    second = DeviceRegistry(path)
    assert [admit(second, key, device) for device in "BAC"] == [True, True, False]
    second.close()


def statements(registry: DeviceRegistry) -> list[str]:
    """What the registry asks the file from now on."""
    seen: list[str] = []
    registry._file.database().set_trace_callback(seen.append)
    return seen


def test_the_new_devices_of_a_request_cost_one_transaction(
    store: KeyStore, path: Path, registries: list[DeviceRegistry]
) -> None:
    key, _ = make(store, devices_max=10_001)
    registry = registries[0]
    assert admit(registry, key, "A")
    began = time.monotonic()
    assert registry.admit(key, [f"D{number}" for number in range(9_900)]) == set()
    print(f"9,900 new devices took {(time.monotonic() - began) * 1000:.0f} ms")
    seen = statements(registry)
    assert registry.admit(key, [f"E{number}" for number in range(100)]) == set()
    assert [text for text in seen if text.startswith(("BEGIN", "COMMIT"))] == ["BEGIN IMMEDIATE", "COMMIT"]
    assert store.all_keys()[0].devices_seen == 10_001


def test_the_first_devices_of_a_request_get_the_places(store: KeyStore, registries: list[DeviceRegistry]) -> None:
    key, _ = make(store, devices_max=4)
    one, two = registries
    assert one.admit(key, ["C", "A"]) == set()
    assert two.admit(key, ["Z", "A", "Y", "X", "W"]) == {"X", "W"}
    assert [device for device, _ in store.devices(key.key_id)] == ["A", "C", "Y", "Z"]
    assert one.admit(key, ["W", "Z", "X"]) == {"W", "X"}


def test_a_full_key_is_neither_listed_nor_waited_for(
    store: KeyStore, path: Path, registries: list[DeviceRegistry]
) -> None:
    """However many devices it has, who asks for others reads some rows, also while somebody writes."""
    key, _ = make(store, devices_max=50_000)
    assert registries[0].admit(key, [f"D{number}" for number in range(50_000)]) == set()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    registry = registries[1]
    steps: list[int] = []
    registry._file.database().set_progress_handler(lambda: steps.append(1) and None, 100)
    assert registry.admit(key, ["X", "D7", "Y"]) == {"X", "Y"}
    assert admit(registry, key, "D8")
    assert len(steps) < 10  # thousands of instructions would be a list
    holder.close()


def test_all_new_devices_of_a_request_are_admitted_or_none(
    store: KeyStore, path: Path, registries: list[DeviceRegistry]
) -> None:
    key, _ = make(store, devices_max=10)
    by_hand(
        path,
        "CREATE TRIGGER full BEFORE INSERT ON key_device WHEN NEW.device = 'C' "
        "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
    )
    with pytest.raises(KeysFileError, match="its disk must have room"):
        registries[0].admit(key, ["A", "B", "C", "D"])
    assert store.devices(key.key_id) == []
    assert store.all_keys()[0].devices_seen == 0


def test_a_device_that_is_forgotten_gives_up_its_place(store: KeyStore, registries: list[DeviceRegistry]) -> None:
    key, _ = make(store, devices_max=2)
    for registry in registries:
        assert [admit(registry, key, device) for device in "ABC"] == [True, True, False]
    assert store.forget(key.key_id, "A") == 1
    assert store.forget(key.key_id, "A") == 0
    one, two = registries
    one.refresh()
    assert admit(one, key, "C")
    two.refresh()
    assert [admit(two, key, device) for device in "ABC"] == [False, True, True]
    assert store.forget(key.key_id, None) == 2
    assert store.all_keys()[0].devices_seen == 0
    one.refresh()
    assert [admit(one, key, device) for device in "XYZ"] == [True, True, False]


def test_a_removed_key_is_admitted_for_nothing_new(store: KeyStore, registries: list[DeviceRegistry]) -> None:
    key, _ = make(store, devices_max=5)
    assert admit(registries[0], key, "A")
    store.revoke([key.key_id], NOW)
    store.remove(key.key_id, NOW)
    assert store.devices(key.key_id) == []
    assert [admit(registries[0], key, "B"), admit(registries[1], key, "A")] == [False, False]


def test_a_locked_file_is_an_error_for_what_is_new_and_not_asked_again_at_once(
    store: KeyStore, path: Path, registries: list[DeviceRegistry]
) -> None:
    key, _ = make(store, devices_max=5)
    registry = registries[0]
    now = 1000.0
    registry.monotonic_s = lambda: now
    assert admit(registry, key, "A")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert admit(registry, key, "A")  # has its place
    began = time.monotonic()
    with pytest.raises(KeysFileError, match="another process is writing the API keys"):
        admit(registry, key, "B")
    print(f"waited {(time.monotonic() - began) * 1000:.0f} ms")
    assert registry._file._database is None
    holder.close()
    for _ in range(100):
        with pytest.raises(KeysFileError, match="another process is writing the API keys"):
            admit(registry, key, "B")
    assert registry._file._database is None  # nobody looked
    assert store.all_keys()[0].devices_seen == 1
    now += 0.11
    assert admit(registry, key, "B")


def test_who_admits_waits_for_nobody_for_long(store: KeyStore, registries: list[DeviceRegistry]) -> None:
    timeout_ms = registries[0]._file.database().execute("PRAGMA busy_timeout").fetchone()[0]
    assert 0 <= timeout_ms <= 10


def test_without_a_file_no_device_is_admitted(path: Path, registries: list[DeviceRegistry], tmp_path: Path) -> None:
    with KeyStore.open(tmp_path / "other.sqlite", create=True) as other:
        key, _ = make(other, devices_max=5)
    now = 1000.0
    registries[0].monotonic_s = lambda: now
    registries[0].refresh()
    with pytest.raises(KeysFileError, match="no API keys yet"):
        admit(registries[0], key, "A")
    now += 1
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(KeysFileError, match="is damaged"):
        admit(registries[0], key, "A")


def test_the_registry_follows_a_file_that_was_replaced(
    store: KeyStore, path: Path, registries: list[DeviceRegistry], tmp_path: Path
) -> None:
    key, _ = make(store, devices_max=1)
    assert admit(registries[0], key, "A")
    store.close()
    registries[1].close()
    for file in list(path.parent.iterdir()):
        file.rename(tmp_path / file.name)
    with KeyStore.open(path, create=True) as other:
        fresh, _ = make(other, devices_max=1)
        registries[0].refresh()
        assert admit(registries[0], fresh, "B")
        assert [device for device, _ in other.devices(fresh.key_id)] == ["B"]


def test_the_file_does_not_grow_by_what_is_written_again_and_again(
    store: KeyStore, path: Path, registries: list[DeviceRegistry]
) -> None:
    key, _ = make(store, devices_max=1000)
    for _ in range(12):
        assert all(admit(registries[0], key, f"D{number}") for number in range(500))
        store.forget(key.key_id, None)
        registries[0].refresh()
    # SQLite copies the WAL back every thousand pages, and begins it anew.
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 8 << 20


# --- whose file it is -------------------------------------------------------------------------------------------------


def test_only_its_owner_may_read_the_file(path: Path) -> None:
    umask = os.umask(0)
    try:
        with KeyStore.open(path, create=True) as store:
            key, _ = make(store, devices_max=2)
            registry = DeviceRegistry(path)
            admit(registry, key, "A")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
            registry.close()
    finally:
        os.umask(umask)
    assert modes == dict.fromkeys(("keys.sqlite", "keys.sqlite-shm", "keys.sqlite-wal"), 0o600)


@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_may_write_is_refused(store: KeyStore, path: Path, which: str, mode: int) -> None:
    key, text = make(store, devices_max=2)
    store.close()
    loose = path if which == "file" else path.parent
    before = stat.S_IMODE(loose.stat().st_mode)
    loose.chmod(before | mode)
    ring, registry = KeyRing(path), DeviceRegistry(path)
    assert ring.keys == 0
    assert f"`chmod go-w {loose}`" in ring.problem
    with pytest.raises(KeysFileError, match="chmod go-w"):
        admit(registry, key, "A")
    with pytest.raises(KeysFileError, match="chmod go-w"):
        KeyStore.open(path)
    loose.chmod(before)
    assert ring.refresh()
    assert ring.find(text) == key
    ring.close()
    registry.close()


def test_a_folder_is_made_that_only_its_owner_may_write(path: Path) -> None:
    umask = os.umask(0)
    try:
        KeyStore.open(path, create=True).close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeysFileError, match=r"file/keys\.sqlite: the file of the API keys cannot be used"):
        KeyStore.open(tmp_path / "file" / "keys.sqlite", create=True)


def test_the_schema_is_the_version_that_the_code_knows(store: KeyStore) -> None:
    assert store._database.execute("PRAGMA user_version").fetchone() == (keys_file.VERSION,)
