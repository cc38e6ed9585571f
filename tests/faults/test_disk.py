"""The disk under a journal says no, takes its time, or is full: no acknowledgement without durability."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.traps import SYNCS, WRITES, Trap, traceable, why_not
from tests.system.conftest import Stage
from tests.system.ledger import device_of, meter, now_text
from tests.system.node import eventually

STORAGE = 74
ROOM_BYTES = 8 << 20
# One acceptor, so that whoever waits and whoever must not wait share its loop.
SETTINGS = {
    "HSEIE_HTTP__ACCEPTORS": "1",
    "HSEIE_INGEST__ACK_TIMEOUT_MS": "1000",
    "HSEIE_SUPERVISOR__RESTART_DELAY_MAX_MS": "400",
}


@pytest.fixture(scope="module")
def tracing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a node needs in its environment to be traced. Without strace: skipped at home, a failure in CI."""
    folder = tmp_path_factory.mktemp("tracing")
    reason = why_not(folder)
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return traceable(folder)


@pytest.fixture(scope="module")
def scene(module_stage: Stage, new_database: Callable[[], str], tracing: dict[str, str]) -> Scene:
    return Scene(module_stage, module_stage.node(DATABASE_URL=new_database(), **SETTINGS, **tracing).start())


@pytest.mark.parametrize(
    "fault",
    [f"{SYNCS}:error=EIO:when=5", f"{WRITES}:error=ENOSPC:when=9", f"{SYNCS}:signal=SIGKILL:when=5"],
    ids=["a sync fails", "no space for a write", "killed in a sync"],
)
def test_one_fault_under_load_costs_a_restart(scene: Scene, tmp_path: Path, fault: str) -> None:
    node = scene.node
    pid = scene.processes()["writer-0"]["pid"]
    with scene.load(interval_ms=200) as fleet, Trap(tmp_path, [pid], fault) as trap:
        node.until_back("writer-0", pid)
        assert trap.sprung >= 1
        eventually(lambda: scene.probe(0).status == 202, "the shard takes readings again")
    assert fleet.statuses["503"] > 0  # the fault did hit
    ended = scene.processes()["writer-0"]["last_exit"]
    print(ended["text"])
    assert ended["code"] == (-signal.SIGKILL if "SIGKILL" in fault else STORAGE)
    scene.prove()


def test_while_no_sync_succeeds_nobody_is_promised_anything(scene: Scene, tmp_path: Path) -> None:
    node = scene.node
    assert node.process is not None
    former = scene.processes()["writer-0"]["pid"]
    codes = set()
    # Lives that begin meanwhile are children of the supervisor, and meet with the same disk.
    disk = Trap(tmp_path, [node.process.pid, former], f"{SYNCS}:error=EIO")
    with scene.load():
        with disk as trap:
            until = time.monotonic() + 3
            while time.monotonic() < until or trap.sprung < 3:
                answer = scene.probe(0)
                assert answer.status == 503, answer
                codes.add(answer.body["code"])
                assert scene.probe(1).status == 202
                assert node.get("/livez").status == 200
            row = scene.processes()["writer-0"]
            assert (row["last_exit"]["code"], row["pid"] == former) == (STORAGE, False)
            print("lives:", row["restarts"], "answers:", codes)
        eventually(lambda: scene.probe(0).status == 202, "the disk is whole again, and so is the shard")
        os.kill(scene.processes()["writer-0"]["pid"], signal.SIGKILL)  # right after an acknowledgement
    scene.prove()


def test_an_acknowledgement_waits_for_its_sync(scene: Scene, tmp_path: Path) -> None:
    pid = scene.processes()["writer-0"]["pid"]
    took = []
    with scene.load() as fleet, Trap(tmp_path, [pid], f"{SYNCS}:delay_exit=200000") as trap:
        for _ in range(6):
            began = time.monotonic()
            assert scene.probe(0).status in (202, 503)
            took.append(time.monotonic() - began)
        assert trap.sprung >= 6
    print("acknowledged after seconds:", [round(seconds, 2) for seconds in took])
    print("the fleet waited:", fleet.summary["latency_ms"])
    assert min(took) >= 0.2
    assert fleet.statuses["202"] > 0
    assert scene.processes()["writer-0"]["pid"] == pid
    scene.prove()


def test_one_sync_of_five_seconds_holds_up_its_shard_only(scene: Scene, tmp_path: Path) -> None:
    node = scene.node
    pid = scene.processes()["writer-0"]["pid"]
    others, codes = 0, []
    with Trap(tmp_path, [pid], f"{SYNCS}:delay_exit=5000000:when=1") as trap, ThreadPoolExecutor(1) as pool:
        until = time.monotonic() + 4.5
        while time.monotonic() < until:
            waits = pool.submit(scene.probe, 0)
            while not waits.done():  # on the same loop, while that one waits
                assert scene.probe(1).status == 202
                assert node.get("/livez").status == 200
                others += 1
            codes.append(waits.result().body.get("code", "taken"))
        eventually(lambda: scene.probe(0).status == 202, "the sync is over")
        assert trap.sprung == 1
    print(f"answers: {codes}; {others} requests of the other shard meanwhile")
    # The sync is not done on the writer's loop either: that goes on giving signs of life, or it would be `unavailable`.
    assert "ack_timeout" in codes
    assert set(codes) <= {"ack_timeout", "taken"}
    assert others > 2 * len(codes)
    assert scene.processes()["writer-0"]["pid"] == pid
    scene.prove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes; only root may mount one."""
    folder = tmp_path / "node" / "data" / "journal"
    folder.mkdir(parents=True, mode=0o700)
    options = f"size={ROOM_BYTES},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system of its own for the journal: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_until_somebody_makes_room(
    stage: Stage, small_disk: Path, new_database: Callable[[], str]
) -> None:
    # Without the floor on free space, which would keep the disk from being full at all.
    floor = {"HSEIE_WRITER__DISK_FREE_BYTES_MIN": "0"}
    scene = Scene(stage, stage.node(DATABASE_URL=new_database(), **SETTINGS, **floor).start())
    node = scene.node
    filler = small_disk / "somebody-elses"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize - 300_000))
    device = device_of(0, 2, "full")

    def send(number: int) -> int:
        batch = [meter(device, number * 500 + i, time=now_text(i)) for i in range(500)]
        answer = node.post("meter", batch)
        scene.note(batch, answer)
        return answer.status

    statuses = [send(number) for number in range(30)]
    assert statuses[0] == 202
    assert set(statuses) == {202, 503}
    ended = eventually(lambda: scene.processes()["writer-0"]["last_exit"], "the writer has noticed")
    assert (ended["code"], "disk is full" in ended["text"] or "disk I/O" in ended["text"]) == (STORAGE, True), ended
    assert [send(number) for number in range(30, 35)] == [503] * 5
    assert node.status()["ready"] is False
    filler.unlink()
    eventually(lambda: send(35) == 202, "there is room again")
    eventually(lambda: scene.probe(1).status == 202, "for the other shard too")
    scene.prove()
