"""The embedded PostgreSQL on real servers: the system's and the wheel's, as root in both ways and as others."""

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hseie.embedded import binaries as server_binaries
from hseie.embedded import identity
from hseie.embedded import processes as server_processes
from hseie.embedded.server import Binaries, EmbeddedPostgres, find_binaries, read_url
from hseie.errors import EmbeddedPostgresError

ROOT = Path(__file__).parents[2]
NAMED = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0 and entry.pw_name != "nobody")
UNNAMED = next(uid for uid in range(5000, 60000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
Make = Callable[..., EmbeddedPostgres]
SlowServer = Callable[[str], tuple[EmbeddedPostgres, subprocess.Popen[bytes]]]


def build(origin: str) -> Binaries:
    """The newest binaries of that origin; a missing one skips."""
    patterns = server_binaries.SYSTEM_PATTERNS
    try:
        if origin == "wheel":
            server_binaries.SYSTEM_PATTERNS = ()
        found = find_binaries({"PATH": ""})
    except EmbeddedPostgresError:
        found = None
    finally:
        server_binaries.SYSTEM_PATTERNS = patterns
    if found is None or found.origin != origin:
        pytest.skip(f"no PostgreSQL of the {origin} here")
    return found


@pytest.fixture(params=["system", "wheel"])
def binaries(request: pytest.FixtureRequest) -> Binaries:
    return build(request.param)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Binaries], Path]:
    """The folder of a server that was started once and stopped: copying it takes a fifth of the time of making it."""

    @functools.cache
    def folder_of(binaries: Binaries) -> Path:
        folder = tmp_path_factory.mktemp("pristine") / "postgres"
        server = EmbeddedPostgres(folder, environ=environ_of(binaries), settings={"fsync": "off"})
        server.start()
        server.stop()
        (folder / "port").unlink()
        return folder

    return folder_of


@pytest.fixture
def make(binaries: Binaries, tmp_path: Path, pristine: Callable[[Binaries], Path]) -> Iterator[Make]:
    """Makes servers of the binaries under test, on a folder that was in use before, and ends them after the test."""
    made: list[EmbeddedPostgres] = []

    def make_one(*, fresh: bool = False, **settings: str) -> EmbeddedPostgres:
        folder = tmp_path / "data" / "postgres"
        if not fresh and not folder.exists():
            shutil.copytree(pristine(binaries), folder)
        made.append(EmbeddedPostgres(folder, environ=environ_of(binaries), settings={"fsync": "off", **settings}))
        return made[-1]

    yield make_one
    for server in made:
        server.stop(timeout_s=5.0)


def environ_of(binaries: Binaries) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HSEIE_PG_BINDIR": str(binaries.bindir)}


def psql(url: str, statement: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program = find_binaries().bindir / "psql"
    command = [program, "-XAtq", "-w", "-v", "ON_ERROR_STOP=1", url, "-c", statement]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)


def ask(url: str, statement: str) -> str:
    result = psql(url, statement)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def processes(server_folder: Path) -> dict[int, int]:
    return server_processes.on_cluster(server_folder / "pgdata")


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def permissions(paths: list[Path]) -> dict[Path, tuple[int, int, int]]:
    return {path: ((found := path.stat()).st_mode, found.st_uid, found.st_gid) for path in paths}


def test_a_server_is_made_serves_stops_and_comes_back_with_everything(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "postgres"
    assert read_url(folder) is None
    server = make(fresh=True)
    url = server.start()
    assert url == server.url() == read_url(folder) == server.start()
    assert (
        ask(url, "CREATE TABLE kept AS SELECT 42 AS answer; SELECT current_user, current_database()") == "hseie|hseie"
    )
    pid = server.pid
    assert server.alive()
    assert pid in processes(folder)

    server.stop()
    assert not server.alive()
    assert server.pid is None
    assert processes(folder) == {}

    again = make()
    assert again.start() == url  # the same port and password
    assert again.pid != pid
    assert ask(url, "SELECT answer FROM kept") == "42"


def test_settings_arrive_and_those_of_a_newer_release_reach_an_old_cluster(make: Make) -> None:
    server = make(work_mem="5MB")
    url = server.start()
    expected = {
        "data_checksums": "on",
        "fsync": "off",  # as these tests want it; see make
        "full_page_writes": "on",
        "logging_collector": "on",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "work_mem": "5MB",
    }
    assert {name: ask(url, f"SHOW {name}") for name in expected} == expected
    ask(url, "ALTER SYSTEM SET listen_addresses = '*'")
    ask(url, "ALTER SYSTEM SET unix_socket_directories = '/tmp'")
    server.stop()

    url = make(work_mem="6MB").start()
    assert ask(url, "SHOW work_mem") == "6MB"
    assert ask(url, "SHOW listen_addresses") == "127.0.0.1"  # nobody opens it to others by mistake
    assert ask(url, "SHOW unix_socket_directories") == ""


def test_the_password_is_needed_and_is_readable_by_nobody_else(make: Make, tmp_path: Path) -> None:
    url = make().start()
    right = urlsplit(url).password
    assert right is not None
    assert len(right) >= 22  # 128 bits in base 64
    assert (tmp_path / "data" / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    wrong = psql(url.replace(right, right[::-1]), "SELECT 1")
    assert wrong.returncode != 0
    assert "password authentication failed" in wrong.stderr
    none = psql(url.replace(f":{right}@", "@"), "SELECT 1", environ={"PATH": os.defpath})
    assert "no password supplied" in none.stderr
    assert ask(url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == "scram-sha-256"


def test_kill_9_of_the_server_loses_nothing(make: Make, tmp_path: Path) -> None:
    server = make(fsync="on")
    url = server.start()
    ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 50000) AS n")
    busy = subprocess.Popen(
        [find_binaries().bindir / "psql", "-Xq", url, "-c", "SELECT pg_sleep(60)"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: ask(url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'") == "1")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.alive())
        said: list[str] = []
        assert server.start(on_wait=said.append) == url  # at once, while backends of the dead server may still be there
    finally:
        busy.kill()
        busy.wait()
    assert ask(url, "SELECT count(*), sum(n) FROM kept") == "50000|1250025000"
    log = "".join(path.read_text() for path in (tmp_path / "data" / "postgres" / "pgdata" / "log").iterdir())
    assert "automatic recovery in progress" in log


PARENT = """
import sys, time
from pathlib import Path
from hseie.embedded import identity
from hseie.embedded.server import EmbeddedPostgres
if sys.argv[2] == "user":
    identity.namespace_identity = lambda: None
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), server.pid, flush=True)
time.sleep(60)
"""


def parent(folder: Path, binaries: Binaries, way: str = "") -> subprocess.Popen[str]:
    """A supervisor that starts a server on that folder, says where and sleeps."""
    command = [sys.executable, "-c", PARENT, str(folder), way]
    return subprocess.Popen(command, cwd=ROOT, env=environ_of(binaries), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("way", ["default", pytest.param("user", marks=needs_root)])
def test_it_dies_with_its_parent(binaries: Binaries, tmp_path: Path, way: str) -> None:
    supervisor = parent(tmp_path / "postgres", binaries, way)
    try:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline().split()[1])
        assert pid in processes(tmp_path / "postgres")
    finally:
        supervisor.kill()
        supervisor.communicate()
    try:
        wait_until(lambda: not processes(tmp_path / "postgres"), timeout_s=10.0)
    finally:
        server_processes.end_all(tmp_path / "postgres" / "pgdata", lambda _: None)
    log = "".join(path.read_text() for path in (tmp_path / "postgres" / "pgdata" / "log").iterdir())
    assert "database system is shut down" in log  # in order, not by a crash


def test_a_kill_in_the_middle_of_the_first_start_does_no_harm(make: Make, binaries: Binaries, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "postgres"
    supervisor = parent(folder, binaries)
    try:
        wait_until(lambda: list(folder.glob("pgdata.new.*/global")))
    finally:
        supervisor.kill()
        supervisor.communicate()
    assert not (folder / "pgdata").exists()
    left = folder / "pgdata.new.left"  # what a power cut leaves, while a killed initdb still clears up after itself
    left.mkdir()
    (left / "PG_VERSION").write_text("15\n")
    assert ask(make(fresh=True).start(), "SELECT 1") == "1"
    assert not list(folder.glob("pgdata.new.*"))


def test_a_kill_before_the_database_was_made_does_no_harm(make: Make) -> None:
    server = make()
    url = server.start()
    ask(url.removesuffix("hseie") + "postgres", "DROP DATABASE hseie")
    server.stop()
    assert ask(make().start(), "SELECT current_database()") == "hseie"


def test_a_server_of_an_earlier_life_is_ended_first(make: Make, tmp_path: Path) -> None:
    earlier = make()
    url = earlier.start()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    first = earlier.pid
    later = make()
    assert later.start() == url
    assert ask(url, "SELECT answer FROM kept") == "42"
    wait_until(lambda: not earlier.alive())
    assert later.pid != first
    assert first not in processes(tmp_path / "data" / "postgres")


def test_a_stopped_server_of_an_earlier_life_is_ended_by_force(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        server_processes, "STAGES", ((signal.SIGINT, 0.2), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 5.0))
    )
    monkeypatch.setattr(server_processes.end_all, "__defaults__", (0.2,))
    earlier = make()
    earlier.start()
    assert earlier.pid is not None
    os.kill(earlier.pid, signal.SIGSTOP)  # hears neither of the polite ways
    assert ask(make().start(), "SELECT 1") == "1"
    wait_until(lambda: not earlier.alive())


def test_a_pid_that_another_program_has_by_now_is_neither_signalled_nor_in_the_way(make: Make, tmp_path: Path) -> None:
    cluster = tmp_path / "data" / "postgres" / "pgdata"
    server = make()
    server.start()
    lines = (cluster / "postmaster.pid").read_text().splitlines()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.alive() and not processes(cluster.parent))
    # One has the pid of the dead postmaster, one is at home in its folder: neither is PostgreSQL.
    strangers = [subprocess.Popen(["sleep", "60"], cwd=cwd) for cwd in ("/", cluster)]
    try:
        (cluster / "postmaster.pid").write_text("\n".join([str(strangers[0].pid), *lines[1:], ""]))
        assert ask(server.start(), "SELECT 1") == "1"
        server.stop()
        assert [stranger.poll() for stranger in strangers] == [None, None]
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


def test_a_port_that_is_taken_meanwhile_is_exchanged(make: Make, tmp_path: Path) -> None:
    server = make()
    former = server.start()
    server.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", urlsplit(former).port or 0))
        taken.listen()
        url = server.start()
        assert urlsplit(url).port != urlsplit(former).port
        assert read_url(tmp_path / "data" / "postgres") == url
        assert ask(url, "SELECT 1") == "1"


def test_a_port_that_is_snatched_in_the_last_moment_is_exchanged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = make()
        choose = server._choose_port
        monkeypatch.setattr(
            server, "_choose_port", lambda *, again: choose(again=True) if again else taken.getsockname()[1]
        )
        url = server.start()
        assert urlsplit(url).port != taken.getsockname()[1]
        assert ask(url, "SELECT 1") == "1"


def test_a_start_that_fails_says_why_and_leaves_nothing_running(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r'(?s)did not start.*invalid value.*"work_mem"'):
        make(work_mem="much").start()
    assert processes(tmp_path / "data" / "postgres") == {}
    assert ask(make().start(), "SELECT 1") == "1"


def test_waiting_can_be_broken_off(make: Make, tmp_path: Path) -> None:
    server = make()
    server.start()
    server.stop()
    said: list[str] = []

    def give_up(message: str) -> None:
        said.append(message)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.start(on_wait=give_up)
    assert said[0].startswith("starting: ")
    assert not server.alive()
    assert processes(tmp_path / "data" / "postgres") == {}


def test_a_lost_password_is_named(make: Make, tmp_path: Path) -> None:
    server = make()
    server.start()
    server.stop()
    (tmp_path / "data" / "postgres" / "password").unlink()
    with pytest.raises(EmbeddedPostgresError, match="password is gone"):
        server.start()


def test_a_cluster_is_opened_by_the_version_that_made_it(tmp_path: Path) -> None:
    system, wheel = build("system"), build("wheel")
    first = EmbeddedPostgres(tmp_path / "postgres", environ={"PATH": ""})
    other = EmbeddedPostgres(tmp_path / "postgres", environ=environ_of(wheel))
    try:
        assert ask(first.start(), "SHOW server_version").startswith(f"{system.version[0]}.")
        first.stop()
        assert ask(other.start(), "SHOW server_version").startswith(f"{system.version[0]}.")
    finally:
        first.stop()
        other.stop()


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[SlowServer]:
    """Plays a server that says one thing, keeps silent for a second, and is ready."""
    (tmp_path / "pgdata" / "log").mkdir(parents=True)
    (tmp_path / "startup.log").touch()
    running: list[subprocess.Popen[bytes]] = []

    def start(line: str) -> tuple[EmbeddedPostgres, subprocess.Popen[bytes]]:
        say = f"echo '{line}' > log/postgresql-1.log; sleep 1"
        ready = "printf '%s\\n' $$ 2 3 4 5 6 7 'ready   ' > postmaster.pid"
        command = ["sh", "-c", f"{say}; {ready}; sleep 60"]
        running.append(subprocess.Popen(command, cwd=tmp_path / "pgdata", process_group=0))
        return EmbeddedPostgres(tmp_path), running[-1]

    yield start
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_recovery_is_waited_for_as_long_as_the_server_lives(slow_server: SlowServer) -> None:
    line = "LOG:  database system was not properly shut down; automatic recovery in progress"
    server, process = slow_server(line)
    said: list[str] = []
    assert server._wait_until_ready(process, 0.3, said.append)
    assert said[-1] == f"recovering: {line}"


def test_anything_else_is_not(slow_server: SlowServer) -> None:
    server, process = slow_server("LOG:  starting PostgreSQL")
    with pytest.raises(EmbeddedPostgresError, match=r"(?s)not ready after 0 s.*LOG:  starting PostgreSQL"):
        server._wait_until_ready(process, 0.3, lambda _: None)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder everybody may enter (the ones pytest makes are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="hseie-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@needs_root
@pytest.mark.parametrize("place", ["open", "closed"])
@pytest.mark.parametrize("way", ["namespace", "user"])
def test_root_gets_a_server_wherever_its_folders_lie(
    binaries: Binaries, way: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the programs of the wheel as well in a folder that only root may enter."""
    if way == "namespace":
        if not identity.probe(identity.Identity("namespace", 65534, 65534), Path("/x/y"), Path("/bin/sh")):
            pytest.skip("user namespaces are forbidden here")
    else:
        monkeypatch.setattr(identity, "namespace_identity", lambda: None)
    with open_folder() as opened:
        monkeypatch.setattr(tempfile, "tempdir", str(opened))  # where programs are copied to
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        if binaries.origin == "wheel":
            binaries = copy_of_the_wheel(binaries, closed)
        data = (opened if place == "open" else closed) / "data"
        data.mkdir(mode=0o755)
        outside = [data, *data.parents, closed, *closed.parents, *binaries.bindir.parents]
        before = permissions(outside)
        server = EmbeddedPostgres(data / "postgres", environ=environ_of(binaries))
        try:
            url = server.start()
            ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
            server.stop()
            assert server.start() == url
            assert ask(url, "SELECT answer FROM kept") == "42"
            assert ask(url, "SHOW server_version").startswith(f"{binaries.version[0]}.")
            assert permissions(outside) == before
            owners = {path.lstat().st_uid for path in (data / "postgres" / "pgdata").rglob("*")}
            assert owners == {0} if way == "namespace" else 0 not in owners
        finally:
            server.stop()


def copy_of_the_wheel(binaries: Binaries, folder: Path) -> Binaries:
    package = binaries.bindir.parents[1]
    shutil.copytree(binaries.bindir.parent, folder / package.name / binaries.bindir.parent.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs")
    return Binaries(folder / package.name / binaries.bindir.parent.name / "bin", binaries.version, binaries.origin)


@needs_root
def test_a_cluster_moves_from_a_namespace_to_a_user_and_stays_there(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    ask(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    with open_folder() as opened, monkeypatch.context() as container:
        container.setattr(tempfile, "tempdir", str(opened))
        container.setattr(identity, "namespace_identity", lambda: None)
        assert ask(server.start(), "SELECT answer FROM kept") == "42"
        server.stop()
    owner = (tmp_path / "data" / "postgres" / "pgdata").stat().st_uid
    assert owner != 0
    with open_folder() as opened:
        monkeypatch.setattr(tempfile, "tempdir", str(opened))
        assert ask(server.start(), "SELECT answer FROM kept") == "42"
        server.stop()
    assert (tmp_path / "data" / "postgres" / "pgdata").stat().st_uid == owner


@needs_root
def test_root_in_a_closed_home_runs_it_as_the_owner_of_that_home(binaries: Binaries) -> None:
    with open_folder() as opened:
        home = opened / "home"
        home.mkdir()
        os.chown(home, NAMED.pw_uid, NAMED.pw_gid)
        home.chmod(0o700)
        server = EmbeddedPostgres(home / "data" / "postgres", environ=environ_of(binaries))
        try:
            assert ask(server.start(), "SELECT 1") == "1"
            assert (home / "data" / "postgres" / "pgdata").stat().st_uid == NAMED.pw_uid
        finally:
            server.stop()
        assert (home.stat().st_mode & 0o777, home.stat().st_uid) == (0o700, NAMED.pw_uid)


ORDINARY = """
import os, sys
from pathlib import Path
from hseie.embedded.server import EmbeddedPostgres
from hseie.errors import EmbeddedPostgresError
server = EmbeddedPostgres(Path(sys.argv[1]))
try:
    server.start()
    print(Path("/proc", str(server.pid)).stat().st_uid, server.alive())
    server.stop()
except EmbeddedPostgresError as error:
    print("refused:", error)
"""


@needs_root
@pytest.mark.parametrize("uid", [NAMED.pw_uid, UNNAMED], ids=["named", "unnamed"])
def test_an_ordinary_user_runs_it_as_himself(binaries: Binaries, uid: int) -> None:
    with open_folder() as opened:
        shutil.copytree(ROOT / "hseie", opened / "hseie")  # the checkout may be closed to him
        home = opened / "home"
        home.mkdir()
        os.chown(home, uid, uid)

        def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, cwd=opened, env=environ_of(binaries), user=uid, group=uid, extra_groups=[],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip

        def succeeds(*command: str | Path) -> bool:
            with contextlib.suppress(OSError):
                return run(*command).returncode == 0
            return False

        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        python = next((path for path in (sys.executable, "/usr/bin/python3") if succeeds(path, "-c", check)), None)
        if python is None or not succeeds(binaries.bindir / "postgres", "--version"):
            pytest.skip("an ordinary user reaches no Python >= 3.11, or not these programs")
        if uid == UNNAMED and not succeeds("unshare", "--user", "--map-user=65534", "true"):
            pytest.skip("ordinary users may not make namespaces here")

        assert run(python, "-c", ORDINARY, home / "postgres").stdout == f"{uid} True\n"
        for path in (home / "postgres", home / "postgres" / "pgdata"):
            os.chown(path, uid + 1, uid + 1)
        assert run(python, "-c", ORDINARY, home / "postgres").stdout.startswith("refused: ")
