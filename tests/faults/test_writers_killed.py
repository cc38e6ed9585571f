"""kill -9 of writers at every step between journal and PostgreSQL, alone and together, and again in their recovery."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import faults_at, log_of, mark_of, until_fired, until_restarted
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, now_text, prove_nothing_lost

# In the order of the way; each life counts anew, so the earlier ones happen first.
POINTS = (
    "journal.before_commit:kill@10",
    "journal.after_commit:kill@12",
    "flush.in_copy:kill@8",  # of several pieces, one a frame and one a kind
    "flush.before_commit:kill@2",
    "flush.after_commit:kill@3",
)
SOON = {"HSEIE_SUPERVISOR__RESTART_DELAY_MAX_MS": "200"}


def test_a_writer_killed_at_every_step_costs_its_shard_seconds_and_the_other_nothing(
    stage: Stage, marks: Path, new_database: Callable[[], str]
) -> None:
    faults = [f"writer-0/{point}" for point in POINTS]
    node = stage.node(DATABASE_URL=new_database(), **SOON, **faults_at(marks, *faults)).start()
    load = stage.load(node, attempts=100)
    with Pulse(node, 0, "hit", every_s=0.01) as hit, Pulse(node, 1, "spared", every_s=0.01) as spared:
        until_fired(marks, faults)
        until_restarted(node, "writer-0", len(faults))
    summary = load.stop()
    print("the shard that was hit:", hit.summary(), "the other:", spared.summary())
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    assert summary["statuses"]["503"] > 0
    # Its devices were asked to come again (a pulse checks Retry-After), and those of the other shard were not.
    assert hit.codes  # which of the two depends on how busy the machine is
    assert hit.codes <= {"writer_unavailable", "ack_timeout"}
    assert spared.codes == set()
    assert hit.longest_gap_s() < 30
    assert node.processes()["writer-0"]["restarts"] == len(faults)
    assert node.processes()["writer-1"]["restarts"] == 0
    prove_nothing_lost(node, spared.note(hit.note(Ledger().read(load.ledger_file))))


def test_both_writers_killed_at_every_step_and_again_in_their_recovery(
    stage: Stage, marks: Path, new_database: Callable[[], str]
) -> None:
    writers = ("writer-0", "writer-1")
    at_start = [f"{writer}/writer.start:kill" for writer in writers]
    # A journal that is new has no frames: these happen in the recovery after one of the others, where the window of
    # re-sends is rebuilt, and where what was not committed is read back.
    replays = ["writer-0/journal.read:kill@5", "writer-1/journal.read:kill@13"]
    faults = [f"{writer}/{point}" for point in POINTS for writer in writers] + replays
    for rule in at_start:
        mark_of(marks, rule).touch()  # not at the first start
    node = stage.node(DATABASE_URL=new_database(), **SOON, **faults_at(marks, *faults, *at_start))
    node.launch()
    for rule in at_start:
        mark_of(marks, rule).unlink(missing_ok=True)
    load = stage.load(node, fast=True, batch=5, concurrency=8, history=12)
    until_fired(marks, [*faults, *at_start])
    for writer in writers:
        until_restarted(node, writer, len(POINTS) + 2)
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "207", "400", "503"}
    assert {node.processes()[name]["restarts"] for name in writers} == {len(POINTS) + 2}
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


def test_a_writer_killed_in_the_middle_of_a_long_copy(
    stage: Stage, marks: Path, new_database: Callable[[], str]
) -> None:
    fault = "writer-0/flush.in_copy:kill@4"  # with 768 KiB given away, more than asyncpg holds back
    node = stage.node(DATABASE_URL=new_database(), **faults_at(marks, fault)).start()
    device = device_of(0, 2, "a-device-whose-name-is-as-long-as-it-may-be-----")
    long = [meter(device, 999_999.9999 - i, time=now_text(i), volts=230.25) for i in range(10_000)]
    answer = node.post("meter", long)
    assert (answer.status, answer.body["accepted"]) == (202, len(long)), answer
    ledger = Ledger()
    ledger.note("meter", long)
    until_fired(marks, [fault])
    stored = prove_nothing_lost(node, ledger)
    assert sum(key[1] == device for key in stored.history) == len(long)
    [ended] = log_of(node, "process_ended", name="writer-0")
    assert ended["ended"] == "killed by SIGKILL"
