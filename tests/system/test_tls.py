"""HTTPS on a node, as its clients meet it: certificates, their renewal, those of clients, and clients that stall."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hseie.browsers import HSTS
from tests.system.certificates import HOST, Authority, Pair
from tests.system.conftest import Stage
from tests.system.curl import curl, needs_curl, refused
from tests.system.ledger import meter
from tests.system.node import PYTHON, Answer, Node, eventually

pytestmark = needs_curl

SOON_S = 30.0  # files are looked at every two seconds; machines are shared
HALF_OPEN = 100


class SecureNode(Node):
    """A node that speaks HTTPS, and whose authority is known to who asks here."""

    authority: Authority
    client: Path | None = None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    @property
    def options(self) -> tuple[str, ...]:
        mine = ("--cert", str(self.client)) if self.client is not None else ()
        return ("--cacert", str(self.authority.file), *mine)

    def ask(self, path: str, *options: str, port: int = 0, body: object = None) -> Answer:
        return curl(f"https://{HOST}:{port or self.port}{path}", *self.options, *options, body=body)

    def send(self, device: str, *, may_break: bool = False) -> None:
        """A reading, as a device sends it: 503 asks it to come again; with `may_break`, so does a broken connection."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                answer = self.ask("/v1/ingest/meter", body=meter(device))
            except AssertionError:  # of curl
                if not may_break:
                    raise
                continue
            if answer.status == 202:
                return
            assert answer.status == 503
            time.sleep(0.1)
        raise AssertionError("not sent in a minute")

    def is_ready(self) -> bool:
        return self.ask("/readyz").status == 200

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.file))

    def serial(self, port: int = 0) -> int:
        """The number of the certificate that a new connection is shown."""
        with (
            socket.create_connection((HOST, port or self.port), timeout=30) as plain,
            self.context().wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            found = secured.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)


def secure_node(stage: Stage, name: str, authority: Authority, pair: Pair, **environ: str) -> SecureNode:
    node = SecureNode(stage.folder / name, environ | pair.settings)
    node.authority = authority
    stage.adopt(node)
    return node


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    pair.write(*authority.server())
    return pair


@pytest.fixture(scope="module")
def node(
    module_stage: Stage, authority: Authority, pair: Pair, new_database: Callable[[], str]
) -> Iterator[SecureNode]:
    node = secure_node(module_stage, "secure", authority, pair, DATABASE_URL=new_database())
    node.start()
    yield node
    assert node.audit()["balanced"]
    log = (node.folder / "stderr").read_text()
    assert "Traceback" not in log, log
    socket_file = node.data / "run" / "analytics.sock"
    assert socket_file.exists()
    node.stop()
    assert not socket_file.exists()


# --- who is served, and how -------------------------------------------------------------------------------------------


def test_both_ports_speak_https_and_questions_are_passed_on(node: SecureNode) -> None:
    answer = node.ask("/v1/ingest/meter", body=meter("A-1"))
    assert answer.status == 202
    for port in (node.port, node.port + 1):
        assert node.ask("/livez", port=port).status == 200
        assert "Strict-Transport-Security" in node.ask("/livez", port=port).headers
        audit = node.ask("/v1/audit", port=port)
        assert audit.status == 200
        assert audit.headers["Strict-Transport-Security"] == HSTS
        assert node.ask("/v1/ingest/meter/%2E%2E/current", port=port).status in (400, 404)
    out = (node.folder / "stdout").read_text()
    assert f"HSEIE ready: {node.url} " in out
    assert node.status()["node"]["url"] == node.url
    tls = node.context()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((HOST, node.port), timeout=30) as plain,
        tls.wrap_socket(plain, server_hostname=HOST) as secured,
    ):
        assert (secured.version(), secured.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        assert secured.compression() is None


def test_who_does_not_know_the_authority_turns_away(node: SecureNode, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another")
    for port in (node.port, node.port + 1):
        assert "certificate" in refused(f"https://{HOST}:{port}/livez", "--cacert", str(other.file))


def test_plain_http_and_old_versions_get_nothing(node: SecureNode) -> None:
    for port in (node.port, node.port + 1):
        refused(f"http://{HOST}:{port}/livez")
        refused(f"https://{HOST}:{port}/livez", *node.options, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
        assert node.ask("/livez", "--tls-max", "1.2", port=port).status == 200


def test_analytics_answers_in_plain_on_a_socket_of_this_user_only(node: SecureNode) -> None:
    path = node.data / "run" / "analytics.sock"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert curl("http://node/readyz", "--unix-socket", str(path)).status == 200


def test_the_images_health_check_needs_no_certificate(closed: SecureNode) -> None:
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    check = dockerfile.partition("HEALTHCHECK ")[2].partition("CMD ")[2].partition("\n")[0]
    _, option, program = json.loads(check)
    here = program.replace("/data/run", str(closed.data / "run"))
    assert here != program
    assert subprocess.run([sys.executable, option, here], check=False, timeout=60).returncode == 0


def test_handshakes_that_stall_cost_others_nothing(node: SecureNode) -> None:
    stalled = [socket.create_connection((HOST, node.port), timeout=30) for _ in range(HALF_OPEN)]
    try:
        for one in stalled[: HALF_OPEN // 2]:
            one.sendall(b"\x16\x03\x01")  # the beginning of a hello
        began = time.monotonic()
        for number in range(5):
            assert node.ask("/v1/ingest/meter", body=meter(f"S-{number}")).status == 202
            assert node.ask("/livez").status == 200
        print(f"ten requests beside {HALF_OPEN} stalled handshakes: {time.monotonic() - began:.2f} s")

        def under_way() -> int:
            rows = node.processes()
            return sum(rows[name]["stats"].get("handshakes", 0) for name in rows if name.startswith("acceptor"))

        assert eventually(lambda: under_way() >= HALF_OPEN * 0.9 or None, "stalled handshakes are counted", 8)
        for one in stalled:  # the server ends them
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(100) == b""
        assert eventually(lambda: under_way() == 0 or None, "none is left", SOON_S)
    finally:
        for one in stalled:
            one.close()


def test_a_fleet_sends_over_https(node: SecureNode, module_stage: Stage) -> None:
    load = module_stage.load(node, "fleet", ca=str(node.authority.file), devices=20, ticks=10, malformed_share=0.0)
    assert load.process.wait(120) == 0
    summary = load.summary()
    assert (summary["failed"], summary["unknown"], summary["rejected"]) == (0, 0, 0)
    assert summary["accepted"] + summary["duplicates"] == summary["readings"]


def test_an_acceptor_comes_back_with_its_certificate(node: SecureNode) -> None:
    former = node.kill("acceptor-0")
    for number in range(20):
        assert (
            node.ask("/v1/ingest/meter", "--retry", "20", "--retry-all-errors", body=meter(f"R-{number}")).status == 202
        )
    node.until_back("acceptor-0", former)
    for _ in range(10):
        assert node.ask("/livez").status == 200


def test_a_reload_costs_nobody_his_request(node: SecureNode) -> None:
    with subprocess.Popen(
        [*PYTHON, "reload", "--data", str(node.data)], env=node.environ, stdout=subprocess.DEVNULL
    ) as reload:
        sent = 0
        while reload.poll() is None:
            node.send(f"L-{sent}")
            sent += 1
        print(f"{sent} requests during a reload")
    assert reload.returncode == 0


# --- renewal ----------------------------------------------------------------------------------------------------------


def test_a_renewal_is_taken_while_connections_stay_open(node: SecureNode, authority: Authority, pair: Pair) -> None:
    open_one = http.client.HTTPSConnection(HOST, node.port, context=node.context(), timeout=60)
    open_one.request("GET", "/livez")
    assert open_one.getresponse().read() == b"ok"
    its_socket = open_one.sock
    former = node.serial()
    assert node.serial(node.port + 1) == former
    pair.write(*authority.server())
    for port in (node.port, node.port + 1):
        for _ in range(20):  # so many that both acceptors are met, in all likelihood
            eventually(lambda port=port: node.serial(port) != former, f"port {port} shows the new one", SOON_S)  # type: ignore[misc]
    open_one.request("GET", "/livez")
    assert open_one.getresponse().read() == b"ok"
    assert open_one.sock is its_socket
    open_one.close()
    assert all(row["restarts"] == 0 for name, row in node.processes().items() if name == "analytics")


def test_a_renewal_that_is_broken_leaves_the_former_one(node: SecureNode, authority: Authority, pair: Pair) -> None:
    # Each process looks by itself, so the former test may have left one that has not looked yet.
    eventually(lambda: len({node.serial(port) for port in (node.port, node.port + 1) * 10}) == 1, "all agree", SOON_S)
    former = node.serial()
    certificate, key = authority.server()
    _, of_another = authority.server()

    def trouble() -> list[str]:
        return [row["text"] for row in node.status()["warnings"] if "certificate" in row["text"]]

    for broken, words in (
        ((certificate[: len(certificate) // 3], key), "no certificate in PEM form"),
        ((certificate, of_another), "is not that of the certificate"),
        (authority.server(days=-0.5, begins_in_days=-1), "has expired"),
    ):
        pair.write(*broken)
        eventually(lambda words=words: any(words in text for text in trouble()), words, SOON_S)  # type: ignore[misc]
        assert node.serial() == node.serial(node.port + 1) == former
        assert node.ask("/livez").status == 200

    def told() -> int:
        return (node.folder / "stderr").read_text().count("has expired")

    eventually(lambda: told() >= 3, "each process has told it", SOON_S)
    time.sleep(5)  # two looks more
    assert told() == 3, "each process tells it once"
    assert "hseie_acceptor_certificate_stale" in str(node.ask("/metrics").body)
    done = node.command("reload")
    assert (done.returncode, "has expired" in done.stderr) == (78, True), done
    killed = node.kill("acceptor-0")  # it has no former one to go on with
    for number in range(10):
        node.send(f"B-{number}", may_break=True)
    assert node.processes()["acceptor-1"]["restarts"] == 0
    pair.write(certificate, key)
    node.until_back("acceptor-0", killed, 60)
    eventually(lambda: not trouble(), "the whole pair is taken", SOON_S)
    eventually(lambda: node.serial() != former, "it is shown", SOON_S)


def test_a_certificate_that_ends_soon_is_a_warning(node: SecureNode, authority: Authority, pair: Pair) -> None:
    eventually(lambda: not node.status()["warnings"], "nothing is wrong", SOON_S)
    pair.write(*authority.server(days=13.5))
    found = eventually(lambda: node.status()["warnings"], "hseie status warns", SOON_S)
    assert "ends in 13 days" in found[0]["text"]
    assert node.status()["ready"] is True
    pair.write(*authority.server())
    eventually(lambda: not node.status()["warnings"], "no warning any more", SOON_S)


# --- clients with certificates ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(
    module_stage: Stage, authority: Authority, pair: Pair, new_database: Callable[[], str]
) -> Iterator[SecureNode]:
    """A node for clients with certificates only, each for one device."""
    node = secure_node(
        module_stage,
        "closed",
        authority,
        pair,
        DATABASE_URL=new_database(),
        HSEIE_TLS__CLIENT_CA=str(authority.file),
        HSEIE_HTTP__ACCEPTORS="1",
        HSEIE_AUTH__MODE="keys",
    )
    node.client = authority.client("D:1")
    node.start()
    yield node
    assert node.audit()["balanced"]


@pytest.fixture(scope="module")
def key(closed: SecureNode) -> tuple[str, str]:
    """What shows a key that may do everything."""
    done = closed.command("keys", "create", "all", "--scope", "admin")
    assert done.returncode == 0, done.stderr
    return "--header", f"Authorization: Bearer {done.stdout.strip()}"


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


def test_without_a_good_certificate_there_is_no_connection(closed: SecureNode, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").client("D:1")
    for port in (closed.port, closed.port + 1):
        url = f"https://{HOST}:{port}/livez"
        refused(url, "--cacert", str(closed.authority.file))
        refused(url, "--cacert", str(closed.authority.file), "--cert", str(stranger))
        refused(url, "--cacert", str(closed.authority.file), "--tls-max", "1.2")
        assert closed.ask("/livez", port=port).status == 200


def test_a_device_sends_its_own_readings_only(closed: SecureNode, key: tuple[str, str]) -> None:
    assert closed.ask("/v1/ingest/meter", *key, body=meter("D:1")).status == 202
    assert code(closed.ask("/v1/ingest/meter", *key, body=meter("D:2"))) == (403, "device_not_allowed")
    mixed = closed.ask("/v1/ingest/meter", *key, body=[meter("D:1"), meter("D:2"), meter("D:1")])
    assert (mixed.status, mixed.body["rejectedIndexes"]) == (207, [1])
    # Both have to permit it.
    assert code(closed.ask("/v1/ingest/meter", body=meter("D:1"))) == (401, "unauthorized")


def test_a_device_asks_about_itself_only(closed: SecureNode, key: tuple[str, str]) -> None:
    told = ("--header", "X-HSEIE-Client-Name: D%3A2")
    told_softly = ("--header", "x-hseie-client-name: D%3A2")
    own = "/v1/ingest/meter/D:1/current"
    for port in (closed.port, closed.port + 1):  # by way of an acceptor, and directly
        eventually(lambda port=port: closed.ask(own, *key, port=port).status == 200, "its state", SOON_S)  # type: ignore[misc]
        assert closed.ask("/v1/ingest/meter/D%3A1/current", *key, port=port).status == 200
        for options in ((), told, told_softly):
            other = closed.ask("/v1/ingest/meter/D:2/current", *key, *options, port=port)
            assert code(other) == (403, "device_not_allowed")
        for path in ("/v1/analytics/stats", "/v1/audit", "/metrics"):
            assert code(closed.ask(path, *key, port=port)) == (403, "forbidden")
        assert closed.ask("/health", port=port).status == 200
        assert code(closed.ask(own, port=port)) == (401, "unauthorized")


def test_a_device_changes_no_pairing_but_its_own(closed: SecureNode, key: tuple[str, str]) -> None:
    """Of a vehicle and a meter that bear one name; a key that may do everything is no help."""
    put = ("--request", "PUT")
    for port in (closed.port, closed.port + 1):
        for vehicle, meter_id in (("D:2", "D:1"), ("D:1", "D:2"), ("D:2", "D:2")):
            answer = closed.ask(f"/v1/pairs/{vehicle}", *key, *put, body={"meterId": meter_id}, port=port)
            assert code(answer) == (403, "device_not_allowed")
        assert code(closed.ask("/v1/pairs/D:2", *key, "--request", "DELETE", port=port)) == (403, "device_not_allowed")
        assert code(closed.ask("/v1/pairs", *key, port=port)) == (403, "forbidden")
        assert closed.ask("/v1/pairs/D:1", *key, *put, body={"meterId": "D:1"}, port=port).status == 200


# --- starts that are refused ------------------------------------------------------------------------------------------


def test_a_node_does_not_start_with_files_that_are_no_good(
    stage: Stage, authority: Authority, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    pair = Pair(tmp_path / "broken")
    certificate, key = authority.server()
    node = secure_node(stage, "refused", authority, pair, DATABASE_URL=new_database())
    for files, words in (
        ((b"", key), "server.pem, holds no certificate in PEM form"),
        ((certificate, b""), "server-key.pem, holds no private key in PEM form"),
        ((certificate, authority.server()[1]), "server-key.pem, is not that of the certificate"),
        (authority.server(days=-0.5, begins_in_days=-1), "server.pem, has expired"),
    ):
        pair.write(*files)
        process = node.spawn()
        assert process.wait(60) == 78
        said = (node.folder / "stderr").read_text()
        assert words in said, said
    assert not (node.data / "run" / "control.sock").exists(), "it had not come as far as that"
    assert not (node.data / "run" / "analytics.sock").exists()
