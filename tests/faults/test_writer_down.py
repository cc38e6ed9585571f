"""A writer that does not come up any more, at a node that runs and at one that starts; the other shard goes on."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import log_of
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, prove_nothing_lost
from tests.system.node import Node, eventually

STORAGE, UNAVAILABLE = 74, 69
ENDS = 4


def files_of(journal: Path) -> list[Path]:
    return [file for file in journal.parent.glob(f"{journal.name}*") if file.is_file()]


def spoil(journal: Path, aside: Path) -> None:
    """Put a journal aside as it is, and something that is none in its place."""
    aside.mkdir()
    for file in files_of(journal):
        file.rename(aside / file.name)
    journal.write_bytes(b"this is no journal\n" * 1000)


def mend(journal: Path, aside: Path) -> None:
    for file in files_of(journal):
        file.unlink()
    for file in aside.iterdir():
        file.rename(journal.parent / file.name)


def down_and_said(node: Node) -> bool:
    """Whether `hseie status` names the writer, how it ended and what follows, to programs and to people."""
    status = node.status()
    texts = [problem["text"] for problem in status["problems"] if problem["process"] == "writer-0"]
    said = any(text.startswith(f"down (exit {STORAGE}: ") and "is started again by itself" in text for text in texts)
    return said and "! writer-0: down (exit" in node.command("status").stdout


def test_a_writer_that_dies_at_every_start(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    journal, aside = node.data / "journal" / "shard-0000-of-0002.sqlite", node.folder / "aside"
    ledger = Ledger()
    before = [meter(device_of(0, 2, f"before-{number}"), number) for number in range(20)]
    assert node.post("meter", before).status == 202
    ledger.note("meter", before)
    with Pulse(node, 1, "other") as other:
        spoil(journal, aside)
        node.kill("writer-0")
        eventually(lambda: len(log_of(node, "process_ended", name="writer-0")) > ENDS, f"it has ended {ENDS} times")
        eventually(lambda: down_and_said(node), "the status says so")
        assert node.get("/readyz").status == 503
        refused = meter(device_of(0, 2, "meanwhile"))
        answer = node.post("meter", refused)
        assert (answer.status, answer.body["code"]) == (503, "writer_unavailable"), answer
        assert int(answer.headers["Retry-After"]) >= 1
        ledger.note("meter", [refused], promised=False)
        mend(journal, aside)
        eventually(node.is_ready, "the node has healed by itself")
    delays = [line["restart_in_s"] for line in log_of(node, "process_ended", name="writer-0")]
    print("seconds to the next start:", delays, "the other shard:", other.summary())
    assert delays[:ENDS] == [0.1, 0.2, 0.4, 0.8]
    assert other.codes == set()
    assert node.processes()["writer-1"]["restarts"] == 0
    again = node.post("meter", before)
    assert (again.status, again.body["duplicates"]) == (202, len(before)), again
    prove_nothing_lost(node, other.note(ledger))


def test_a_node_whose_writer_never_came_up_is_given_up_with_the_reason_and_recovers(
    stage: Stage, new_database: Callable[[], str]
) -> None:
    fault = "writer-0/writer.start:exit=1"
    node = stage.node(DATABASE_URL=new_database()).start()
    kept = [meter(device_of(0, 2, "kept"))]
    assert node.post("meter", kept).status == 202
    node.kill_supervisor()
    # Whoever starts a node waits for it, or for a reason.
    done = node.command("up", "--port", str(node.port), HSEIE_FAIL=fault)
    assert done.returncode == UNAVAILABLE, done
    assert "writer-0: exit 1" in done.stderr.splitlines()[-1], done.stderr
    assert "faults_ordered" in done.stderr
    ended = [line for line in done.stderr.splitlines() if '"process_ended"' in line]
    assert len(ended) == 4, done.stderr
    node.start()
    ledger = Ledger()
    ledger.note("meter", kept)
    prove_nothing_lost(node, ledger)
