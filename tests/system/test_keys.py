"""API keys on a node, as their holders meet them: keys made on the command line, requests sent by curl."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie.embedded.server import EmbeddedPostgres
from tests.faults.test_reload import configure, configured, last_reload, reload
from tests.system.conftest import Stage
from tests.system.curl import curl, needs_curl
from tests.system.ledger import meter
from tests.system.node import Answer, Node, eventually

pytestmark = needs_curl

CONNECTIONS = 20  # so many that both acceptors get some: the kernel deals them out by chance
SOON_S = 20.0  # a change of the keys is seen within a second or two; machines are shared


class Keys:
    """The keys of a node, and all that were made, so that they can be looked for where they must not be."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: list[str] = []

    def create(self, name: str, *options: str, scope: str = "ingest") -> str:
        """A new key, good at once."""
        done = self.node.command("keys", "create", name, "--scope", scope, *options)
        assert done.returncode == 0, done.stderr
        key = done.stdout.strip()
        self.made.append(key)
        return key

    def revoke(self, name: str) -> None:
        done = self.node.command("keys", "revoke", name)
        assert done.returncode == 0, done.stderr


def shown(key: str) -> tuple[str, str]:
    return "--header", f"Authorization: Bearer {key}"


def send(node: Node, key: str | None, body: Any, kind: str = "meter") -> Answer:
    return curl(f"{node.url}/v1/ingest/{kind}", *(shown(key) if key else ()), body=body)


def get(node: Node, key: str | None, path: str, *, port: int = 0) -> Answer:
    return curl(f"http://127.0.0.1:{port or node.port}{path}", *(shown(key) if key else ()))


def statuses(node: Node, key: str) -> list[int]:
    """What many connections of the key are answered: a body that is no JSON, so that nothing is stored."""
    options = ("--header", "Content-Type: text/plain", "--data-binary", "x")
    return [curl(f"{node.url}/v1/ingest/meter", *shown(key), *options).status for _ in range(CONNECTIONS)]


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.body["code"]


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    return module_stage.node(DATABASE_URL=new_database(), HSEIE_AUTH__MODE="keys").start()


@pytest.fixture(scope="module")
def keys(node: Node) -> Keys:
    return Keys(node)


@pytest.fixture(scope="module")
def short(keys: Keys) -> tuple[str, datetime]:
    """A key that lasts about as long as the tests before the one that waits for its end."""
    at = datetime.now(UTC) + timedelta(seconds=20)
    return keys.create("short", "--expires", at.isoformat()), at


def test_a_key_opens_and_nothing_else_does(node: Node, keys: Keys, short: tuple[str, datetime]) -> None:
    assert set(statuses(node, short[0])) == {415}
    answer = send(node, None, meter("A-1"))
    assert problem(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="hseie"'
    key = keys.create("first")
    assert send(node, key, meter("A-1")).status == 202
    assert curl(f"{node.url}/v1/ingest/meter", "--header", f"X-API-Key: {key}", body=meter("A-1")).status == 202
    assert curl(f"{node.url}/v1/ingest/meter", "--oauth2-bearer", key, body=meter("A-1")).status == 202
    for wrong in (key[:-1] + ("A" if key[-1] != "A" else "B"), "hseie_", "x"):
        answer = send(node, wrong, meter("A-1"))
        assert problem(answer) == (401, "unauthorized")
        assert "invalid_token" in answer.headers["WWW-Authenticate"]
    both = curl(f"{node.url}/v1/ingest/meter", *shown(key), "--header", "X-API-Key: another", body=meter("A-1"))
    assert problem(both) == (401, "unauthorized")
    assert problem(get(node, key, "/v1/analytics/stats")) == (403, "forbidden")
    for path in ("/health", "/livez", "/readyz", "/api/openapi.json"):
        assert get(node, None, path).status == 200
    assert problem(get(node, None, "/nothing")) == (404, "not_found")


def test_both_acceptors_ask(node: Node, keys: Keys) -> None:
    def refused() -> list[int]:
        rows = [row for row in node.status()["processes"] if row["role"] == "acceptor"]
        return [row["stats"]["problems"].get("unauthorized", 0) for row in rows]

    def both_have_refused() -> bool:
        assert set(statuses(node, "nobody")) == {401}
        return all(now > then for now, then in zip(refused(), before, strict=True))

    before = refused()
    eventually(both_have_refused, "connections reach both", 60)
    assert set(statuses(node, keys.create("both"))) == {415}


def test_queries_need_a_key_that_may_read_on_either_port(node: Node, keys: Keys) -> None:
    writer, reader = keys.create("writer"), keys.create("reader", scope="read")
    assert send(node, writer, meter("Q-1")).status == 202
    path = "/v1/ingest/meter/Q-1/current"
    for port in (node.port, node.port + 1):
        assert problem(get(node, None, path, port=port)) == (401, "unauthorized")
        assert problem(get(node, writer, path, port=port)) == (403, "forbidden")
        assert eventually(lambda port=port: get(node, reader, path, port=port).status == 200, "it is stored")  # type: ignore[misc]
        assert get(node, reader, "/metrics", port=port).status == 200
        assert problem(get(node, reader, "/v1/audit", port=port)) == (403, "forbidden")
    assert get(node, keys.create("boss", scope="admin"), "/v1/audit").status == 200


def test_a_key_of_some_devices(node: Node, keys: Keys) -> None:
    key = keys.create("bound", "--scope", "read", "--device", "MINE", "--prefix", "OUR_")
    assert send(node, key, meter("MINE")).status == send(node, key, meter("OUR_1")).status == 202
    assert problem(send(node, key, meter("THEIRS"))) == (403, "device_not_allowed")
    answer = send(node, key, [meter("OUR_2"), meter("THEIRS"), meter("MINE", 5)])
    assert (answer.status, answer.body["accepted"], answer.body["rejectedIndexes"]) == (207, 2, [1])
    assert [error["code"] for error in answer.body["errors"]] == ["device_not_allowed"]
    assert eventually(lambda: get(node, key, "/v1/ingest/meter/MINE/current").status == 200, "it is stored")
    assert problem(get(node, key, "/v1/ingest/meter/THEIRS/current")) == (403, "device_not_allowed")
    assert problem(get(node, key, "/v1/analytics/stats")) == (403, "forbidden")
    assert get(node, key, f"/v1/ingest/jobs/{answer.body['jobIds'][0]}").status == 200


def test_a_rate_holds_over_both_acceptors_and_ends(node: Node, keys: Keys) -> None:
    key = keys.create("slow", "--readings-per-s", "2", "--burst", str(2 * CONNECTIONS))
    began = time.monotonic()
    found: list[int] = []
    while 429 not in found:
        found += statuses(node, key)
        assert time.monotonic() - began < 120, "the limit is never met"
    took_s = time.monotonic() - began
    let_in = len(found) - found.count(429)
    print(f"let in {let_in} in {took_s:.1f} s: {found}")
    assert 2 * CONNECTIONS <= let_in <= 2 * CONNECTIONS + 2 * took_s + 2
    debt = send(node, key, [meter(f"S-{number}") for number in range(10)])
    while debt.status == 429:
        time.sleep(int(debt.headers["Retry-After"]))
        debt = send(node, key, [meter(f"S-{number}") for number in range(10)])
    assert debt.status == 202
    refused = send(node, key, meter("S-1"))  # overdrawn: on whichever acceptor
    assert problem(refused) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert eventually(lambda: send(node, key, meter("S-1")).status == 202, "the debt is paid off", 60)


def test_a_quota_of_devices_holds_over_both_acceptors(node: Node, keys: Keys) -> None:
    key = keys.create("few", "--devices-max", "3")
    found = [send(node, key, meter(f"F-{number % 5}")).status for number in range(20)]
    assert found == [202, 202, 202, 429, 429] * 4
    answer = send(node, key, meter("F-4"))
    assert problem(answer) == (429, "device_quota")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    done = node.command("keys", "devices", "few", "--forget", "F-0")
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: send(node, key, meter("F-4")).status == 202, "there is a place again", SOON_S)


def test_a_key_that_is_revoked_is_out_in_seconds_and_one_that_expires_at_its_time(
    node: Node, keys: Keys, short: tuple[str, datetime]
) -> None:
    pids = node.children()
    key = keys.create("lost")
    assert set(statuses(node, key)) == {415}  # both acceptors know it
    keys.revoke("lost")
    began = time.monotonic()
    eventually(lambda: set(statuses(node, key)) == {401}, "it is out on all connections", SOON_S)
    print(f"out after {time.monotonic() - began:.1f} s")
    eventually(lambda: set(statuses(node, short[0])) == {401}, "it has expired", 60)
    assert datetime.now(UTC) >= short[1]
    revoked, expired = send(node, key, meter("A-1")), send(node, short[0], meter("A-1"))
    assert (revoked.body, revoked.headers["WWW-Authenticate"]) == (expired.body, expired.headers["WWW-Authenticate"])
    assert node.children() == pids


def test_a_restart_of_a_process_or_of_the_node_keeps_it_all(node: Node, keys: Keys) -> None:
    good, few = keys.create("good"), keys.create("still-few", "--devices-max", "1")
    slow = keys.create("still-slow", "--readings-per-s", "0.01", "--burst", str(3 * CONNECTIONS))
    assert send(node, few, meter("R-1")).status == 202
    assert send(node, slow, [meter(f"R-{number}") for number in range(100)]).status == 202
    gone = keys.create("gone")
    assert set(statuses(node, gone)) == {415}
    keys.revoke("gone")
    eventually(lambda: set(statuses(node, gone)) == {401}, "it is out", SOON_S)

    def as_before() -> None:
        assert send(node, good, meter("R-1")).status == 202
        assert problem(send(node, few, meter("R-2"))) == (429, "device_quota")
        assert set(statuses(node, slow)) == {429}
        assert set(statuses(node, gone)) == {401}

    as_before()
    for name in ("acceptor-0", "acceptor-1"):
        node.until_back(name, node.kill(name))
    as_before()
    node.stop()
    node.start()
    as_before()


def test_no_key_is_ever_in_a_log(node: Node, keys: Keys) -> None:
    assert len(keys.made) > 8
    logs = "".join(file.read_text(errors="replace") for file in node.folder.iterdir() if file.is_file())
    assert "ready" in logs
    for key in keys.made:
        assert key not in logs
        assert key[-20:] not in logs  # the secret's end (a secret may hold "_" itself)


def test_keys_are_asked_for_while_postgresql_is_away(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(DATABASE_URL=own_server.start(), HSEIE_AUTH__MODE="keys").start()
    keys = Keys(node)
    own_server.stop()
    key = keys.create("new", "--devices-max", "1")
    assert send(node, key, meter("P-1")).status == 202
    assert problem(send(node, key, meter("P-2"))) == (429, "device_quota")
    assert problem(send(node, None, meter("P-1"))) == (401, "unauthorized")
    keys.revoke("new")
    eventually(lambda: set(statuses(node, key)) == {401}, "it is out", SOON_S)


def test_a_node_on_a_network_asks_for_keys_or_was_told_not_to(stage: Stage, new_database: Callable[[], str]) -> None:
    network = '[http]\nhost = "0.0.0.0"\n'
    node = configured(stage, new_database(), f'{network}[auth]\nmode = "keys"\n')
    assert node.status()["node"]["access"] == "keys"
    pids = node.children()
    configure(node, network)
    refused = node.command("reload")
    assert refused.returncode == 78
    assert "auth.open_to_network" in refused.stderr
    assert "hseie keys create" in refused.stderr
    assert node.children() == pids
    assert problem(send(node, None, meter("N-1"))) == (401, "unauthorized")
    configure(node, f"{network}[auth]\nopen_to_network = true\n")
    reload(node)
    assert last_reload(node)["changed"] == ["auth.mode", "auth.open_to_network"]
    assert send(node, None, meter("N-1")).status == 202
    status = node.status()
    assert status["ready"]
    assert [warning["process"] for warning in status["warnings"]] == ["node"]
    assert "auth.open_to_network" in status["warnings"][0]["text"]
    assert "open_to_network" in node.tail()


def test_the_command_means_the_keys_of_the_node_that_runs(
    stage: Stage, new_database: Callable[[], str], tmp_path: Path
) -> None:
    elsewhere = {"HSEIE_AUTH__MODE": "keys", "HSEIE_AUTH__KEYS_FILE": str(tmp_path / "keys" / "mine.sqlite")}
    (tmp_path / "keys").mkdir(mode=0o700)
    node = stage.node(DATABASE_URL=new_database(), **elsewhere).start()
    for name in elsewhere:  # the shell of an operator, who knows the folder only
        del node.environ[name]
    done = node.command("keys", "create", "by-hand", "--scope", "ingest")
    assert done.returncode == 0, done.stderr
    assert "nobody is asked" not in done.stderr
    assert (tmp_path / "keys" / "mine.sqlite").exists()
    key = done.stdout.strip()
    assert send(node, key, meter("MEANT-1")).status == 202
    assert node.command("keys", "revoke", "by-hand").returncode == 0
    eventually(lambda: send(node, key, meter("MEANT-1")).status == 401, "the key is out", SOON_S)
