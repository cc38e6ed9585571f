"""A slow disk, a disk that is nearly full, a full journal: devices are sent away in time, told when to come back, and
nothing that was promised is missing afterwards."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hseie.embedded.server import EmbeddedPostgres
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, prove_nothing_lost
from tests.system.node import Answer, Node, eventually

MIB = 1 << 20


def retry_after(answer: Answer) -> int:
    """The seconds of a 503, which have to be whole and from 1 to 60."""
    assert answer.status == 503, answer
    seconds = int(answer.headers["Retry-After"])
    assert 1 <= seconds <= 60
    return seconds


def writer_of(node: Node) -> dict[str, object]:
    stats: dict[str, object] = node.processes()["writer-0"]["stats"]
    return stats


def not_ready(node: Node) -> Answer | None:
    answer = node.get("/readyz")
    return answer if answer.status == 503 else None


@contextmanager
def slow_syncs(pid: int) -> Iterator[None]:
    """Every sync of a process takes a fifth of a second more."""
    delay = ("-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:delay_exit=200000", "-o", os.devnull)
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(pid), *delay])
    try:
        yield
        assert tracer.poll() is None, "strace may not trace here"
    finally:
        tracer.terminate()
        tracer.wait()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_slow_disk_is_told_and_costs_nothing_but_time(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    load = stage.load(node)
    time.sleep(1)
    with slow_syncs(node.children()["writer-0"]):
        began = time.monotonic()
        status = eventually(lambda: found if (found := node.status())["warnings"] else None, "the status tells")
        print(f"told after {time.monotonic() - began:.1f} s")
        warnings = {warning["process"]: warning["text"] for warning in status["warnings"]}
        assert "disk of the journal is slow" in warnings["writer-0"]
        checks = {check["name"]: check for check in node.get("/readyz?verbose").body["checks"]}
        assert (checks["journal-0"]["ok"], checks["journal-0"]["degraded"]) == (True, True)  # slow, and it serves
        assert "its disk is slow" in checks["journal-0"]["detail"]
        assert node.get("/health").body["status"] == "degraded"
        assert writer_of(node)["sync_ms"] >= 200
    eventually(lambda: writer_of(node)["journal"] == "ok", "all is well again, by itself", 120)
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    assert (summary["failed"], summary["unknown"]) == (0, 0)
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


@pytest.mark.timeout(300)
def test_a_sync_that_hangs_costs_its_shard_some_time_and_nothing_else(
    stage: Stage, new_database: Callable[[], str], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_INGEST__ACK_TIMEOUT_MS="1000",
        HSEIE_FAIL="writer-0/journal.before_commit:sleep=16@5",
        HSEIE_FAIL_MARKS=str(marks),
    ).start()
    ledger = Ledger()
    pid = node.children()["writer-0"]
    device, other = device_of(0, 2, "hangs"), device_of(1, 2, "hangs")
    number, codes, slowest = 0, set(), 0.0
    while not any(marks.iterdir()) or not codes:
        reading = meter(device, number)
        asked = time.monotonic()
        answer = node.post("meter", reading)
        slowest = max(slowest, time.monotonic() - asked)
        ledger.note("meter", [reading], promised=answer.status == 202)
        if answer.status != 202:
            codes.add(answer.body["code"])
            retry_after(answer)
        number += 1
        assert number < 100
    print(f"the slowest answer took {slowest:.1f} s")
    assert codes == {"ack_timeout"}
    assert slowest < 10  # before the sync was through
    status = eventually(lambda: None if (found := node.status())["ready"] else found, "the status tells", 10)
    assert [problem["process"] for problem in status["problems"]] == ["writer-0"]
    assert "a sync of the journal does not end" in status["problems"][0]["text"]
    wrong = eventually(lambda: not_ready(node), "the checks, which are kept for a second, say so", 10)
    assert [check["name"] for check in wrong.body["checks"]] == ["journal-0"]
    assert node.get("/health").body["status"] == "degraded"
    reading = meter(other)
    assert node.post("meter", reading).status == 202  # the other shard does not wait
    ledger.note("meter", [reading])
    again = meter(device, number)
    eventually(lambda: node.post("meter", again).status == 202, "the shard takes readings again", 60)
    ledger.note("meter", [again])
    assert node.children()["writer-0"] == pid  # by itself
    eventually(node.is_ready, "the node is ready again")
    assert '"state":"stuck"' in node.tail(1000)
    # Without another sync the long one is forgotten after a minute.
    eventually(lambda: "journal_well" in node.tail(1000), "the log says that it is well again", 150)
    prove_nothing_lost(node, ledger)


def test_a_disk_that_is_nearly_full(stage: Stage, new_database: Callable[[], str], tmp_path: Path) -> None:
    # The disk is shared with others: what we take at once has to be more than what they do meanwhile.
    taken_bytes = 1024 * MIB
    free = shutil.disk_usage(tmp_path).free
    if free < 2 * taken_bytes:
        pytest.skip("needs 2 GiB of disk")
    node = stage.node(
        DATABASE_URL=new_database(), HSEIE_WRITER__DISK_FREE_BYTES_MIN=str(free - taken_bytes // 2)
    ).start()
    ledger = Ledger()
    before = meter("disk", 1)
    assert node.post("meter", before).status == 202
    ledger.note("meter", [before])
    pid = node.children()["writer-0"]
    ballast = tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, taken_bytes)
    reading = meter("disk", 2)
    refused = eventually(lambda: answer if (answer := node.post("meter", reading)).status == 503 else None, "refused")
    ledger.note("meter", [reading])  # tried until it was refused: taken, or taken as a re-send, below
    assert refused.body["code"] == "disk_full"
    assert retry_after(refused) >= 10
    status = node.status()
    assert not status["ready"]
    assert any("disk of the journal is nearly full" in problem["text"] for problem in status["problems"])
    wrong = eventually(lambda: not_ready(node), "the checks, which are kept for a second, say so", 10)
    assert wrong.body["code"] == "not_ready"
    assert "its disk is nearly full" in wrong.body["detail"]
    ballast.unlink()
    eventually(lambda: node.post("meter", reading).status == 202, "it takes readings again")
    eventually(node.is_ready, "the node is ready again")
    assert node.children()["writer-0"] == pid  # by itself
    prove_nothing_lost(node, ledger)


def test_a_full_journal_drains_and_takes_again(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(
        DATABASE_URL=own_server.start(),
        HSEIE_WRITER__SHARDS="1",
        HSEIE_HTTP__BODY_BYTES_MAX="131072",
        HSEIE_WRITER__JOURNAL_BYTES_MAX=str(2 * MIB),
    ).start()
    ledger = Ledger()
    own_server.stop()
    refused = None
    for number in range(100):
        batch = [meter(f"full-{i}", number) for i in range(900)]
        answer = node.post("meter", batch)
        if answer.status == 503:
            refused = answer
            break
        assert answer.status == 202
        ledger.note("meter", batch)
    assert refused is not None
    assert refused.body["code"] == "journal_full"
    assert retry_after(refused) >= 30  # PostgreSQL is away: nobody knows
    # Figures come with the next heartbeat.
    eventually(lambda: any("journal is full" in problem["text"] for problem in node.status()["problems"]), "it says so")
    assert 1 * MIB < writer_of(node)["journal_bytes"] <= 3 * MIB
    own_server.start()
    ledger.note("meter", batch)
    eventually(lambda: node.post("meter", batch).status == 202, "it takes readings again")
    eventually(node.is_ready, "the node is ready again")
    prove_nothing_lost(node, ledger)
