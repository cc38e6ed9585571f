"""PostgreSQL goes away under load: devices do not notice, and everything arrives when it is back."""

import os
import signal
import time

from hseie.embedded.server import EmbeddedPostgres
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import eventually


def test_the_embedded_server_killed_under_load_is_started_again(stage: Stage) -> None:
    node = stage.node().start()
    load = stage.load(node)
    time.sleep(2)
    pid = node.kill("postgres")
    killed = time.monotonic()
    node.until_back("postgres", pid, 60)
    eventually(node.is_ready, "the node is ready again")
    print(f"PostgreSQL is back after {time.monotonic() - killed:.2f} s")
    time.sleep(1)
    summary = load.stop()
    assert set(summary["statuses"]) == {"202", "400"}  # nobody noticed
    assert (summary["failed"], summary["unknown"]) == (0, 0)
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


def test_a_server_stopped_for_seconds_under_load(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(DATABASE_URL=own_server.start()).start()
    ledger = Ledger()
    load = stage.load(node)
    time.sleep(2)
    own_server.stop()
    began = time.monotonic()
    status = eventually(lambda: None if (found := node.status())["ready"] else found, "the status tells")
    assert any("PostgreSQL does not answer" in problem["text"] for problem in status["problems"])
    assert node.get("/readyz").status == 503
    assert node.get("/livez").status == 200
    # Who wants to wait for the commit waits as long as he said, and then has the receipt of the journal.
    asked = time.monotonic()
    reading = meter("waits")
    answer = node.post("meter", reading, Prefer="wait=1")
    assert (answer.status, answer.body["mode"]) == (202, "queued"), answer
    assert "Preference-Applied" not in answer.headers
    assert 0.9 < time.monotonic() - asked < 20
    ledger.note("meter", [reading])
    # A writer that dies meanwhile has nothing but its journal, and that is enough.
    os.kill(pid := node.children()["writer-0"], signal.SIGKILL)
    node.until_back("writer-0", pid)
    time.sleep(1)
    own_server.start()
    eventually(node.is_ready, "the node is ready again")
    print(f"PostgreSQL was away for {time.monotonic() - began:.1f} s")
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    job = node.get(f"/v1/ingest/jobs/{answer.body['jobId']}")
    assert (job.status, job.body["state"]) in ((200, "stored"), (200, "queued"))
    prove_nothing_lost(node, ledger.read(load.ledger_file))
    assert node.get(f"/v1/ingest/jobs/{answer.body['jobId']}").body["state"] == "stored"


def test_a_node_that_stops_and_starts_while_the_server_is_away(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(DATABASE_URL=own_server.start()).start()
    ledger = Ledger()
    readings = [meter(f"A-{number}", number) for number in range(30)]
    assert node.post("meter", readings[:10]).status == 202
    own_server.stop()
    assert node.post("meter", readings[10:20]).status == 202
    node.stop()  # asserts exit code 0: the journal has it all
    node.launch()
    again, _ = node.deliver("meter", readings)
    assert (again.status, again.body["accepted"], again.body["duplicates"]) == (202, 10, 20), again
    ledger.note("meter", readings)
    assert not node.is_ready()
    own_server.start()
    eventually(node.is_ready, "the node is ready again")
    prove_nothing_lost(node, ledger)
