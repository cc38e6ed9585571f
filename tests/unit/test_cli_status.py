"""What `hseie status`, `hseie demo` and `hseie psql` make of what they are told."""

import time
from typing import Any

import pytest

from hseie.commands import without_password
from hseie.config import Config, Http, Tls
from hseie.config_load import load
from hseie.demo import Totals, line, rates, totals
from hseie.node import address
from hseie.status import duration, figures, find_problems, find_warnings, last_reload
from hseie.tables import print_table


def row(name: str, state: str = "ready", **more: Any) -> dict[str, Any]:
    role = name.split("-")[0]
    return {"name": name, "role": role, "state": state, "last_exit": None, "stats": {}, **more}


def snapshot(*rows: dict[str, Any], state: str = "ready") -> dict[str, Any]:
    return {"node": {"state": state}, "processes": list(rows)}


def kinds(received: int, waiting: int, active: int) -> dict[str, Any]:
    return {"kinds": {"meter": {"received": received, "waiting": waiting, "active": active, "duplicates": 0}}}


def problems(*rows: dict[str, Any], state: str = "ready") -> list[tuple[str, str]]:
    return [(problem.process, problem.text) for problem in find_problems(snapshot(*rows, state=state))]


def test_a_node_without_problems() -> None:
    assert problems(row("writer-0", stats={"database": "ok", "journal": "ok"}), row("acceptor-0")) == []


def test_each_problem_is_named_with_its_place() -> None:
    exited = {"code": 74, "text": "exit 74: the sync failed", "at": 0.0}
    found = problems(
        row("writer-0", "down", last_exit=exited),
        row("writer-1", stats={"database": "away", "journal": "full"}),
        row("writer-2", "given_up", last_exit=exited),
        row("acceptor-0", "starting"),
        row("maintenance", stats={"trouble": "database_away"}),
    )
    assert [place for place, _ in found] == [
        "writer-0",
        "writer-1",
        "writer-1",
        "writer-2",
        "acceptor-0",
        "maintenance",
    ]
    text = dict(found)
    assert "exit 74: the sync failed" in text["writer-0"]
    assert "by itself" in text["writer-0"]
    assert "not started again" in text["writer-2"]
    assert "starting" in text["acceptor-0"]


@pytest.mark.parametrize(
    ("state", "word"), [("full", "journal_bytes_max"), ("disk_full", "Make room"), ("stuck", "nothing is acknowledged")]
)
def test_a_journal_that_takes_nothing_is_a_problem_with_its_remedy(state: str, word: str) -> None:
    [(place, text)] = problems(row("writer-1", stats={"journal": state}))
    assert place == "writer-1"
    assert word in text


def test_a_slow_disk_is_a_warning() -> None:
    slow = row("writer-1", stats={"journal": "slow", "sync_ms": 20.0, "sync_under_way_ms": 1500})
    assert problems(slow) == []
    [warning] = find_warnings(snapshot(row("writer-0", stats={"journal": "ok"}), slow))
    assert warning.process == "writer-1"
    assert "1500 ms" in warning.text


def test_rollups_that_are_behind_are_a_warning() -> None:
    behind = row("maintenance", stats={"trouble": "", "rollup_lag_s": 5 * 3600.0})
    [warning] = find_warnings(snapshot(behind))
    assert (warning.process, "rollups end 5 h ago" in warning.text) == ("maintenance", True)
    assert find_warnings(snapshot(row("maintenance", stats={"trouble": "", "rollup_lag_s": 3700.0}))) == []


def test_what_a_failed_reload_did_not_start_is_a_problem() -> None:
    told = snapshot(row("acceptor-0"))
    told["node"] |= {"missing": ["writer-0", "writer-1"], "last_reload": {"outcome": "failed", "reason": "reshard: x"}}
    [problem] = find_problems(told)
    assert problem.process == "node"
    assert "writer-0, writer-1 not started" in problem.text
    assert "failed: reshard: x" in problem.text
    told["node"]["reloading"] = "starting writer-0"
    assert [problem.text for problem in find_problems(told)] == ["reloading: starting writer-0"]


def test_a_node_that_starts_or_drains_is_not_ready() -> None:
    assert problems(state="starting") == [("node", "starting")]
    assert problems(row("writer-0"), state="draining") == [("node", "draining")]


def test_a_reload_under_way_is_no_time_to_be_ready() -> None:
    shown = snapshot(row("writer-0"))
    shown["node"] |= {"reloading": "starting reshard"}
    assert [(problem.process, problem.text) for problem in find_problems(shown)] == [
        ("node", "reloading: starting reshard")
    ]


def test_the_last_reload_is_told() -> None:
    assert last_reload({"last_reload": None}) == ""
    done = {"at": time.time() - 5, "outcome": "done", "reason": ""}
    assert last_reload({"last_reload": done}) == ", last reload done 5 s ago"
    refused = {"at": time.time() - 300, "outcome": "refused", "reason": "unknown key"}
    assert last_reload({"last_reload": refused}) == ", last reload refused 5 min ago: unknown key"


def test_figures_take_what_is_there() -> None:
    assert figures({}) == ""
    assert figures({"database": "ok", "unknown": 1, **kinds(10, 2, 1)}) == "meter 3 in flight of 10, database ok"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_rates_are_sums_over_the_writers() -> None:
    before = totals(snapshot(row("writer-0", stats=kinds(100, 10, 0)), row("writer-1", stats=kinds(50, 0, 0))), 10.0)
    assert before == Totals(10.0, 150, 140, 10)
    after = Totals(12.0, 1150, 1140, 10)
    assert rates(before, after) == {"received": "500/s", "committed": "500/s", "waiting": "10", "in all": "1,150"}
    # A writer that was restarted counts from zero: no rate is below zero.
    assert rates(after, before)["received"] == "0/s"


def test_the_line_shows_latency_and_what_is_not_ready() -> None:
    fleet = {"fleet": {"p50": "1.0 ms", "p99": "2.0 ms"}}
    shown = line({"received": "5/s"}, snapshot(row("writer-0", "down"), row("simulator", stats=fleet)))
    assert shown == "received 5/s  writer-0 down  p50 1.0 ms  p99 2.0 ms"


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://me:p%40ss@db:5432/x", "postgresql://me@db:5432/x", "p@ss"),
        ("postgresql://me@db/x", "postgresql://me@db/x", ""),
        ("postgresql://db/x", "postgresql://db/x", ""),
        ("postgresql://me:a@[::1]:5432/x?sslmode=disable", "postgresql://me@[::1]:5432/x?sslmode=disable", "a"),
    ],
)
def test_the_password_stays_off_the_command_line(url: str, bare: str, password: str) -> None:
    assert without_password(url) == (bare, password)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
        ("fd00::5", "http://[fd00::5]:3000"),
        ("meters.example", "http://meters.example:3000"),
    ],
)
def test_the_address_is_one_that_can_be_opened(host: str, expected: str) -> None:
    assert address(load(overrides={"http.host": host}).config) == expected


def test_a_node_that_is_open_to_a_network_is_a_warning_and_so_are_keys_that_cannot_be_read() -> None:
    seen = snapshot(
        row("acceptor-0", stats={"keys_trouble": "the file is gone"}), row("analytics", stats={"keys_trouble": ""})
    )
    assert [(found.process, found.text) for found in find_warnings(seen)] == [("acceptor-0", "the file is gone")]
    assert find_problems(seen) == []
    for access, warned in (("everybody", 1), ("this_machine", 0), ("keys", 0)):
        seen["node"]["access"] = access
        assert len([found for found in find_warnings(seen) if found.process == "node"]) == warned


def test_a_table_without_a_terminal_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "count"), [("a", "1"), ("longer", "100")], right=("count",))
    assert capsys.readouterr().out == "name    count\na           1\nlonger    100\n"


def test_what_keeps_days_from_the_archive_is_a_warning_with_its_reason() -> None:
    stats = {"archive_trouble": "folder", "archive_trouble_reason": "no space left"}
    [warning] = find_warnings(snapshot(row("maintenance", stats=stats)))
    assert (warning.process, warning.text.endswith("it is tried again (no space left)")) == ("maintenance", True)
    [warning] = find_warnings(snapshot(row("maintenance", stats={"archive_trouble": "no_duckdb"})))
    assert "install the extra `archive`" in warning.text
    stats = {"archive_trouble": "", "archive_trouble_reason": ""}
    assert find_warnings(snapshot(row("maintenance", stats=stats))) == []


def test_a_partition_made_by_hand_is_a_warning_with_its_name() -> None:
    stats = {"partitions_foreign": 1, "partitions_foreign_names": "meter_history_rest"}
    [warning] = find_warnings(snapshot(row("maintenance", stats=stats)))
    assert "meter_history_rest" in warning.text
    stats = {"partitions_foreign": 0, "partitions_foreign_names": ""}
    assert find_warnings(snapshot(row("maintenance", stats=stats))) == []


@pytest.mark.parametrize(
    ("days", "trouble", "expected"),
    [
        (15, "", []),
        (13.9, "", ["the TLS certificate ends in 13 days. Renew the file in tls.certificate"]),
        (-1, "", ["the TLS certificate has expired: clients turn away. Renew the file in tls.certificate"]),
        (15, "no key", ["the certificate was not renewed, the former one is in use: no key"]),
    ],
)
def test_what_is_to_be_done_about_the_certificate_is_told_once(days: float, trouble: str, expected: list[str]) -> None:
    stats = {"certificate_expires_at": time.time() + days * 86_400, "certificate_trouble": trouble}
    plain = {"certificate_expires_at": 0, "certificate_trouble": ""}
    seen = snapshot(row("acceptor-0", stats=stats), row("acceptor-1", stats=stats), row("analytics", stats=stats))
    assert [(found.process, found.text) for found in find_warnings(seen)] == [("node", text) for text in expected]
    assert find_warnings(snapshot(row("acceptor-0", stats=plain), row("analytics", stats=plain))) == []
    assert find_problems(seen) == []


def test_the_address_says_how_the_node_speaks() -> None:
    assert address(Config()) == "http://127.0.0.1:3000"
    assert address(Config(tls=Tls(certificate="c", key="k"), http=Http(host="::"))) == "https://[::1]:3000"
