"""A running node takes over a changed configuration while its devices go on sending: nobody is refused or forgotten."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from hseie.embedded.server import EmbeddedPostgres
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, meter, now_text, prove_nothing_lost
from tests.system.node import PATIENCE_S, Node, eventually

SINGLE = {"202", "400", "503"}
DAY_S = 86_400
RELOAD_S = 120  # for one reload on a machine that others use too
pytestmark = pytest.mark.timeout(900)


class Knocking:
    """Clients that make a new connection for each request, as fast as they are answered."""

    def __init__(self, node: Node, clients: int = 2) -> None:
        self.answers: Counter[int] = Counter()
        self.errors: list[str] = []  # a connection that was refused or reset, or gave no answer
        self.promised: list[Reading] = []
        self.possible: list[Reading] = []
        self._node = node
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._knock, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _knock(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            reading = meter(f"K-{client}-{number % 50}", number % 1000)
            try:
                status = self._node.post("meter", reading).status
            except (OSError, HTTPException) as error:
                self.errors.append(repr(error))
                status = 0
            self.answers[status] += 1
            (self.promised if status in (201, 202) else self.possible).append(reading)

    def stop(self, ledger: Ledger) -> None:
        """Stop, write into the ledger, and see that each request was answered."""
        self.end()
        ledger.note("meter", self.promised)
        ledger.note("meter", self.possible, promised=False)
        print("the clients with a connection a request:", dict(self.answers))
        assert self.errors == []
        assert set(self.answers) <= {202, 503}
        assert self.answers[202] > 0

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def configure(node: Node, text: str) -> None:
    (node.folder / "hseie.toml").write_text(text)


def configured(stage: Stage, url: str, text: str) -> Node:
    """A node that runs with a configuration file."""
    node = stage.node(DATABASE_URL=url, HSEIE_CONFIG="")
    configure(node, text)
    return node.start(HSEIE_CONFIG=str(node.folder / "hseie.toml"))


def reload(node: Node) -> dict[str, Any]:
    """`hseie reload`, which must come to a good end."""
    done = node.command("reload", "--json", "--timeout", str(PATIENCE_S - 15))
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["outcome"] == "unfinished":  # on a machine that others use too
        eventually(lambda: not node.status()["node"]["reloading"], "the reload ends", RELOAD_S)
        answer = last_reload(node)
    assert answer["outcome"] == "done", answer
    status = node.status()
    assert {row["config"] for row in status["processes"]} == {status["node"]["config"]}
    return answer


def last_reload(node: Node) -> dict[str, Any]:
    """How the last reload ended; empty before the first. Asked without the file, which may be wrong."""
    status = json.loads(node.command("status", "--json", HSEIE_CONFIG="").stdout)
    return status["node"]["last_reload"] or {}


def unanswered(summary: dict[str, Any]) -> int:
    """How often a fleet got no answer at all: each request was tried once, and once more each time it was retried."""
    return int(summary["requests"] + summary["retried"] - sum(summary["statuses"].values()))


def test_reloads_under_load_cost_no_connection_and_no_reading(stage: Stage, new_database: Callable[[], str]) -> None:
    node = configured(stage, new_database(), "[ingest]\npast_max_days = 400\n")
    old = meter("OLD", time=now_text(20 * DAY_S))
    assert node.post("meter", old).status == 202
    ledger = Ledger()
    ledger.note("meter", [old])
    single = stage.load(node, "single", attempts=100)
    batches = stage.load(node, "batches", batch=20, first_device=1001, attempts=100)
    knocking = Knocking(node)
    try:
        for interval_ms, days in ((100, 300), (50, 10)):
            configure(node, f"[ingest]\npast_max_days = {days}\n[writer]\nflush_interval_ms = {interval_ms}\n")
            answer = reload(node)
            assert "ingest.past_max_days" in answer["changed"]
            assert len(answer["replaced"]) == 6
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)  # as `docker kill -s HUP` does
        eventually(lambda: node.status()["node"]["generation"] == 4, "the node is told", RELOAD_S)
        eventually(lambda: not node.status()["node"]["reloading"], "and has done it", RELOAD_S)
        assert last_reload(node)["outcome"] == "done"
    finally:
        knocking.end()
    knocking.stop(ledger)
    one, many = single.stop(), batches.stop()
    assert set(one["statuses"]) <= SINGLE
    assert set(many["statuses"]) <= SINGLE | {"207"}
    assert (unanswered(one), unanswered(many)) == (0, 0)
    assert (one["unknown"], many["unknown"]) == (0, 0)
    # The last configuration is in force: twenty days are too old for it now.
    refused = node.post("meter", meter("OLD", 2, time=now_text(20 * DAY_S)))
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (400, "/timestamp")
    prove_nothing_lost(node, ledger.read(single.ledger_file).read(batches.ledger_file))


def test_other_numbers_of_shards_and_acceptors_under_load(stage: Stage, new_database: Callable[[], str]) -> None:
    node = configured(stage, new_database(), "[writer]\nshards = 2\n[http]\nacceptors = 2\n")
    ledger = Ledger()
    load = stage.load(node, attempts=200, repeat_share=0.2)
    knocking = Knocking(node)
    try:
        for shards, acceptors in ((3, 3), (1, 1), (2, 2)):
            configure(node, f"[writer]\nshards = {shards}\n[http]\nacceptors = {acceptors}\n")
            # Writers that have just started are refused: they may not have found PostgreSQL yet.
            eventually(lambda: databases(node) == {"ok"}, "the writers have PostgreSQL", RELOAD_S)
            reload(node)
            names = list(node.children())
            assert sum(name.startswith("writer-") for name in names) == shards
            assert sum(name.startswith("acceptor-") for name in names) == acceptors
    finally:
        knocking.end()
    knocking.stop(ledger)
    summary = load.stop()
    assert set(summary["statuses"]) <= SINGLE
    assert unanswered(summary) == 0
    assert summary["unknown"] == 0
    prove_nothing_lost(node, ledger.read(load.ledger_file), 2)


def test_a_configuration_that_is_refused_harms_nobody(stage: Stage, new_database: Callable[[], str]) -> None:
    node = configured(stage, new_database(), "")
    pids = node.children()
    configure(node, "[ingest]\npast_max_dayz = 10\n")
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    eventually(lambda: last_reload(node).get("outcome") == "refused", "it is refused")
    assert "did you mean ingest.past_max_days?" in last_reload(node)["reason"]
    configure(node, '[http]\nhost = "0.0.0.0"\n[ingest]\npast_max_days = 10\n')
    refused = node.command("reload")
    assert refused.returncode == 78
    assert "http.host ('127.0.0.1' -> '0.0.0.0') cannot change while a node runs" in refused.stderr
    assert "restart the node" in refused.stderr
    assert node.children() == pids
    assert node.is_ready()
    reading = meter("OLD", time=now_text(20 * DAY_S))
    assert node.post("meter", reading).status == 202
    ledger = Ledger()
    ledger.note("meter", [reading])
    prove_nothing_lost(node, ledger)
    node.stop()
    assert node.command("reload", HSEIE_CONFIG="").returncode == 69


def test_an_archive_that_is_wrong_is_told_by_the_reload(
    stage: Stage, new_database: Callable[[], str], tmp_path: Path
) -> None:
    node = configured(stage, new_database(), "")
    pids = node.children()
    theirs, file, gone = tmp_path / "theirs", tmp_path / "file", tmp_path / "gone"
    theirs.mkdir()
    (theirs / "archive.id").write_text("somebody else\n")
    file.touch()
    for folder, reason in (
        (theirs, "another database, somebody else"),
        (file, "is not a folder"),
        (node.data, "of its own"),
    ):
        configure(node, f'[retention]\narchive = "{folder}"\n')
        refused = node.command("reload")
        assert (refused.returncode, reason in refused.stderr) == (78, True), refused
        assert "retention.archive" in refused.stderr
    configure(node, "")
    assert node.children() == pids
    # A day is archived, as far as the database knows, and the disk is away: it may come back, so that is a warning.
    node.sql(
        "INSERT INTO archive_part (kind, day, part, state, file, readings, booked)"
        " VALUES ('meter', '2026-02-08', 1, 'archived', 'meter/2026-02-08/part-1.parquet', 0, 0)"
    )
    configure(node, f'[retention]\narchive = "{gone}"\n')
    done = node.command("reload")
    assert (done.returncode, "changed: retention.archive" in done.stdout) == (0, True), done
    assert f"warning: retention.archive: {gone / 'archive.id'} is missing: is the disk there?" in done.stderr
    assert not gone.exists()

    def warned() -> bool:
        return any("archive.id is missing" in warning["text"] for warning in node.status()["warnings"])

    eventually(warned, "maintenance says it in its first round")
    # What was so before, and is nobody's mistake of now, refuses no reload.
    gone.mkdir()
    (gone / "archive.id").write_text("somebody else\n")
    configure(node, f'[retention]\narchive = "{gone}"\n[ingest]\npast_max_days = 10\n')
    done = node.command("reload")
    assert (done.returncode, "another database, somebody else" in done.stderr) == (0, True), done


def databases(node: Node) -> set[str]:
    """How the writers find PostgreSQL."""
    rows = node.processes().values()
    return {row["stats"].get("database", "unknown") for row in rows if row["role"] == "writer"}


def test_another_number_of_shards_is_refused_while_postgresql_is_away(
    stage: Stage, own_server: EmbeddedPostgres
) -> None:
    node = configured(stage, own_server.start(), "[writer]\nshards = 2\n")
    eventually(lambda: databases(node) == {"ok"}, "the writers have PostgreSQL")
    ledger = Ledger()
    own_server.stop()
    readings = [meter(f"D-{number}") for number in range(40)]
    for reading in readings[:20]:
        assert node.post("meter", reading).status == 202
    eventually(lambda: "away" in databases(node), "a writer has noticed")
    pids = node.children()
    configure(node, "[writer]\nshards = 3\n")
    refused = node.command("reload")
    assert refused.returncode == 75
    assert "PostgreSQL is away" in refused.stderr
    assert node.children() == pids
    for reading in readings[20:]:  # acknowledged as before
        assert node.post("meter", reading).status == 202
    ledger.note("meter", readings)
    own_server.start()
    eventually(lambda: databases(node) == {"ok"}, "PostgreSQL is back", RELOAD_S)
    reload(node)
    assert sum(name.startswith("writer-") for name in node.children()) == 3
    prove_nothing_lost(node, ledger, 3)


def test_another_number_of_shards_waits_for_postgresql_and_says_so(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = configured(stage, own_server.start(), "[writer]\nshards = 2\n")
    ledger = Ledger()
    readings = [meter(f"D-{number}") for number in range(20)]
    for reading in readings:
        assert node.post("meter", reading).status == 202
    ledger.note("meter", readings)
    eventually(lambda: databases(node) == {"ok"}, "the writers have PostgreSQL")
    stored = "SELECT count(*) FROM meter_history"
    eventually(lambda: node.sql(stored) == [(len(readings),)], "everything is stored")
    # Writers with nothing to store do not notice: for the reload it is as if PostgreSQL went away after its beginning.
    own_server.stop()
    configure(node, "[writer]\nshards = 3\n")
    late = node.command("reload", "--timeout", "3")
    assert late.returncode == 1
    assert "it goes on" in late.stderr

    def problems() -> dict[str, str]:
        return {problem["process"]: problem["text"] for problem in node.status()["problems"]}

    eventually(lambda: "PostgreSQL does not answer" in problems().get("reshard", ""), "the status says why it waits")
    assert problems()["node"] == "reloading: starting reshard"
    assert node.post("meter", meter("D-0")).status == 503
    again = node.command("reload")
    assert again.returncode == 75
    own_server.start()
    eventually(lambda: last_reload(node).get("outcome") == "done", "it has ended", RELOAD_S)
    eventually(lambda: node.status()["ready"], "all is well", RELOAD_S)
    known = node.post("meter", readings)
    assert (known.status, known.body["duplicates"]) == (202, len(readings))
    prove_nothing_lost(node, ledger, 3)
