"""HSEIE as others get it: the wheel, installed into an environment of its own, run from a folder that is not ours."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import hseie

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0


def run(*command: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> str:
    """The standard output of a command; its errors are in the exception when it fails."""
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree with what the locked environment has."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`hseie` of an environment that has the wheel, and our dependencies as they are."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    python = place / "bin" / "python"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=place.parent)
    # Only after that: pip would take the editable HSEIE it sees there for the one to be installed. A folder that is
    # named in a .pth file comes after the environment's own, and .pth files in it are not read.
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place.parent).strip()
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "dependencies.pth").write_text("".join(f"{folder}\n" for folder in sorted(dependencies)))
    return place / "bin" / "hseie"


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment without anything that configures HSEIE."""
    ours = ("HSEIE_", "PG", "DB_", "DATABASE_URL", "PYTHONPATH")
    names = ("PORT", "USE_QUEUE")
    kept = {"HSEIE_PG_BINDIR"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (name.startswith(ours) or name in names)
    }


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def free_port() -> int:
    """A port whose successor is free as well: analytics takes that one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        content = answer.read()
        is_json = "json" in answer.getheader("Content-Type", "")
        return answer.status, json.loads(content) if is_json else content
    finally:
        connection.close()


class Node:
    """`hseie up` in the foreground, its output in files."""

    def __init__(self, program: Path, folder: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self._out = folder / "stdout"
        self._err = folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [program, "up", "--data", folder / "data", "--port", str(self.port)],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def ready_line(self) -> str:
        """The line that says `ready`, once it is there."""
        until = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < until:
            lines = self._out.read_text().splitlines()
            if found := [line for line in lines if "ready" in line]:
                return found[0]
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log()}"
            time.sleep(0.1)
        raise AssertionError(f"not ready in {READY_TIMEOUT_S} s: {self.log()}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def log(self) -> str:
        return self._err.read_text(errors="replace")[-3000:]


@pytest.fixture
def node(program: Path, elsewhere: Path, environ: dict[str, str]) -> Iterator[Node]:
    started = Node(program, elsewhere, environ)
    yield started
    if started.process.poll() is None:
        started.process.kill()  # its children die with it
        started.process.wait()


def test_the_wheel_has_the_code_the_sql_the_configuration_and_the_pages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        **{package: ROOT / package for package in ("hseie", "simulator")},
        **{f"hseie/_resources/{folder}": ROOT / folder for folder in ("sql", "config")},
    }
    expected = {
        f"{place}/{file.relative_to(folder).as_posix()}"
        for place, folder in wanted.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert any(name.endswith(".html") for name in expected)
    assert sorted(expected - names) == []
    assert sorted(name for name in names - expected if ".dist-info/" not in name) == []


def test_it_knows_its_version(program: Path, elsewhere: Path, environ: dict[str, str]) -> None:
    assert run(program, "--version", cwd=elsewhere, environ=environ).strip() == f"hseie {hseie.__version__}"
    assert run(program.with_name("python"), "-m", "hseie", "--version", cwd=elsewhere, environ=environ)


def test_it_is_the_installed_one_that_runs(program: Path, elsewhere: Path, environ: dict[str, str]) -> None:
    code = "import hseie.resources as r; print(r.__file__); print(r.resource('sql')); print(r.resource('config'))"
    files = run(program.with_name("python"), "-c", code, cwd=elsewhere, environ=environ).split()
    assert [file for file in files if not file.startswith(str(program.parents[1]))] == []


def test_its_configuration_is_the_default(program: Path, elsewhere: Path, environ: dict[str, str]) -> None:
    shown = json.loads(run(program, "config", "show", "--json", cwd=elsewhere, environ=environ))
    assert shown["http.port"] == {"value": 3000, "origin": "default"}
    assert {entry["origin"] for entry in shown.values()} == {"default"}


def test_a_node_takes_a_reading_gives_it_back_and_stops(node: Node, elsewhere: Path) -> None:
    assert f"http://127.0.0.1:{node.port}" in node.ready_line()
    reading = {"meterId": "METER_001", "kwhConsumedAc": 10.5, "voltage": 230.1, "timestamp": _now()}
    status, answer = ask(node.port, "POST", "/v1/ingest/meter", reading, Prefer="wait=20")
    assert (status, answer["mode"], answer["meterId"]) == (201, "direct", "METER_001"), answer
    status, state = ask(node.port, "GET", "/v1/ingest/meter/METER_001/current")
    assert status == 200, state
    assert (state["kwhConsumedAc"], state["voltage"]) == (10.5, 230.1)
    status, page = ask(node.port, "GET", "/api")
    assert status == 200
    assert b"<html" in page.lower()
    assert node.stop() == 0, node.log()
    # It wrote where it was told to and nowhere else.
    assert {file.name for file in elsewhere.iterdir()} == {"data", "stdout", "stderr"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
