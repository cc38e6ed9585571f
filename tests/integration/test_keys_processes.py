"""API keys with several processes at the file at once, processes that are killed while they write, and another user."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hseie.access import ALL_DEVICES, Key
from hseie.key_store import KeyStore
from hseie.keys import DeviceRegistry, KeyRing

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
PATIENCE_S = 60

BEGIN = """
import sys, time
from pathlib import Path
from hseie.access import ALL_DEVICES
from hseie.errors import KeysFileError
from hseie.key_store import KeyStore
from hseie.keys import DeviceRegistry, KeyRing

path = Path(sys.argv[1])
"""

CREATE = (
    BEGIN
    + """
def create(store):
    key, text = store.create("fleet", {"ingest"}, ALL_DEVICES, 0.0, 0, int(sys.argv[2]), None, 1.0)
    print(text, flush=True)
    return key

with KeyStore.open(path, create=True) as store:
    for _ in range(int(sys.argv[3])):
        create(store)
"""
)

# Reads devices line by line, and answers each.
ADMIT = (
    BEGIN
    + """
[key] = [listed.key for listed in KeyStore.open(path).all_keys()]
registry = DeviceRegistry(path)
print("ready", flush=True)
for line in sys.stdin:
    device = line.strip()
    while True:
        try:
            refused = registry.admit(key, [device])
            break
        except KeysFileError as error:  # another writes just now; who sends readings is told to come again
            assert "another process is writing" in str(error), error
            time.sleep(0.05)
    print(device, not refused, flush=True)
"""
)


def start(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@contextlib.contextmanager
def started(number: int, script: str, path: Path, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [start(script, path, *arguments) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with contextlib.suppress(BrokenPipeError):  # it was killed before it had read all
                    stream.close()


def lines(process: subprocess.Popen[str]) -> list[str]:
    """What a process that has ended in order printed."""
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return out.splitlines()


def check(path: Path) -> None:
    """The file is whole, and its counters are right."""
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    wrong = """SELECT key_id, devices_seen FROM api_key
        WHERE devices_seen <> (SELECT count(*) FROM key_device WHERE key_device.key_id = api_key.key_id)"""
    assert database.execute(wrong).fetchall() == []
    database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.sqlite"


def make(path: Path, devices_max: int) -> Key:
    with KeyStore.open(path, create=True) as store:
        return store.create("fleet", {"ingest"}, ALL_DEVICES, 0.0, 0, devices_max, None, 1.0)[0]


def test_several_make_the_file_and_keys_at_once(path: Path) -> None:
    with started(4, CREATE, path, "0", "10") as processes:
        texts = [text for process in processes for text in lines(process)]
    ring = KeyRing(path)
    assert (len(texts), ring.keys, ring.problem) == (40, 40, "")
    keys = [ring.find(text) for text in texts]
    assert {key.place for key in keys if key is not None} == set(range(40))
    ring.close()
    check(path)


def test_a_quota_is_exact_among_processes_that_race_for_it(path: Path) -> None:
    make(path, 100)
    with started(3, ADMIT, path) as processes:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for number, process in enumerate(processes):
            assert process.stdin is not None
            # Half of the devices report through all of them.
            names = [f"all-{i}" if i % 2 else f"{number}-{i}" for i in range(120)]
            process.stdin.write("".join(f"{name}\n" for name in names))
            process.stdin.flush()
        answers = [line.split() for process in processes for line in lines(process)]
    admitted = {name for name, answer in answers if answer == "True"}
    assert len(answers) == 360
    assert len(admitted) == 100
    with KeyStore.open(path) as store:
        [listed] = store.all_keys()
        assert {device for device, _ in store.devices(listed.key.key_id)} == admitted
    check(path)


@pytest.mark.parametrize("after", [1, 7, 30])
def test_a_process_that_is_killed_while_it_makes_keys_loses_none_that_it_told(path: Path, after: int) -> None:
    with started(1, CREATE, path, "0", "4000") as [process]:
        assert process.stdout is not None
        texts = [process.stdout.readline().strip() for _ in range(after)]
        os.kill(process.pid, signal.SIGKILL)
        texts += process.stdout.read().split()
    ring = KeyRing(path)
    assert ring.problem == ""
    assert [text for text in texts if ring.find(text) is None] == []
    assert ring.keys - len(texts) in (0, 1)  # the last one may be made and not told
    ring.close()
    make(path, 0)
    check(path)


@pytest.mark.parametrize("after", [1, 50, 500])
def test_a_process_that_is_killed_while_it_admits_leaves_the_count_right(path: Path, after: int) -> None:
    key = make(path, 5000)
    ring, registry = KeyRing(path), DeviceRegistry(path)
    with started(1, ADMIT, path) as [process]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"D{number}\n" for number in range(4000)))
        told = [process.stdout.readline() for _ in range(after + 1)][1:]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.read().splitlines()
    check(path)
    with KeyStore.open(path) as store:
        devices = [device for device, _ in store.devices(key.key_id)]
        assert {line.split()[0] for line in told} <= set(devices)
        assert registry.admit(key, ["another"]) == set()
        assert store.all_keys()[0].devices_seen == len(devices) + 1
    assert (ring.refresh(), ring.problem) == (False, "")
    registry.close()
    ring.close()


def test_a_ring_sees_what_another_process_does(path: Path) -> None:
    ring = KeyRing(path)
    with started(1, CREATE, path, "0", "1") as [process]:
        [text] = lines(process)
    assert ring.find(text) is None
    assert ring.refresh() is True
    key = ring.find(text)
    assert key is not None
    revoke = f"{BEGIN}\nKeyStore.open(path).revoke([sys.argv[2]], 5.0)"
    with started(1, revoke, path, key.key_id) as [process]:
        assert lines(process) == []
    assert ring.refresh() is True
    key = ring.find(text)
    assert key is not None
    assert key.revoked_at == 5.0
    ring.close()


def test_keys_are_looked_up_while_others_write_without_a_break(path: Path) -> None:
    """A ring never fails, and never holds half of anything, while keys are made as fast as it goes."""
    with started(1, CREATE, path, "0", "300") as [process]:
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        ring = KeyRing(path)
        counts = []
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() - begin < PATIENCE_S:
            ring.refresh()
            assert ring.problem == ""
            assert ring.find(first) is not None
            counts.append(ring.keys)
            if ring.keys >= 300:
                break
        texts = [first, *lines(process)]
    assert counts == sorted(counts)
    ring.refresh()
    assert all(ring.find(text) for text in texts)
    print(f"{len(counts)} looks while 300 keys were made")
    ring.close()


# --- another user -----------------------------------------------------------------------------------------------------

# Imports and reads what it needs, then becomes nobody, who is not let into the folders of the tests' user.
AS_NOBODY = (
    BEGIN
    + """
import os, tempfile

def work(path):
    ring, registry = KeyRing(path), DeviceRegistry(path)
    assert ring.problem == "", ring.problem
    with KeyStore.open(path) as store:
        key = store.find("fleet")
        assert registry.admit(key, ["mine"]) == set()
        store.create("mine", {"read"}, ALL_DEVICES, 0.0, 0, 0, None, 1.0)
        assert ring.refresh() is True
        store.forget(key.key_id, "mine")
    print(ring.keys)

with tempfile.TemporaryDirectory() as folder:
    own = Path(folder, "keys.sqlite")
    with KeyStore.open(own, create=True) as store:
        store.create("fleet", {"ingest"}, ALL_DEVICES, 0.0, 0, 5, None, 1.0)
    work(own)
os.setgroups([])
os.setresgid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
os.setresuid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
work(path)
"""
)


@pytest.fixture
def folder_of_nobody() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root makes files for another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


def test_what_root_makes_belongs_to_the_owner_of_the_folder(folder_of_nobody: Path) -> None:
    path = folder_of_nobody / "node" / "keys.sqlite"
    with KeyStore.open(path, create=True) as store:
        key, _ = store.create("fleet", {"ingest"}, ALL_DEVICES, 0.0, 0, 5, None, 1.0)
        registry = DeviceRegistry(path)  # while root has it open, its WAL is there
        assert registry.admit(key, ["roots"]) == set()
        files = [path.parent, *path.parent.iterdir()]
        assert sorted(file.name for file in files) == ["keys.sqlite", "keys.sqlite-shm", "keys.sqlite-wal", "node"]
        assert {(file.stat().st_uid, file.stat().st_gid) for file in files} == {(NOBODY, NOBODY)}
        with started(1, AS_NOBODY, path, str(NOBODY)) as [process]:
            assert lines(process) == ["2", "2"]
        registry.close()
    with started(1, AS_NOBODY, path, str(NOBODY)) as [process]:  # and when nobody has it open
        assert lines(process) == ["2", "3"]
    check(path)


def test_a_file_that_the_user_may_not_read_lets_nobody_in(folder_of_nobody: Path) -> None:
    path = folder_of_nobody / "keys.sqlite"
    make(path, 0)
    os.chown(path, 0, 0)
    script = f"{BEGIN}\nimport os\nos.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nring = KeyRing(path)\n"
    with started(1, f"{script}print(ring.keys, ring.problem)", path) as [process]:
        [line] = lines(process)
    assert line.startswith(f"0 {path}: the file of the API keys cannot be used")
    assert "must belong to the user who runs the node" in line
