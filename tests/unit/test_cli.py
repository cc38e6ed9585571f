"""The command line without a node: what it prints, and how it ends."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from hseie import __main__, __version__, cli
from hseie import commands as commands_module
from hseie.errors import ExitCode

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "PGHOST", "DB_HOST", "PORT", "USE_QUEUE", "HSEIE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def commands() -> list[str]:
    return cli.hseie.list_commands(click.Context(cli.hseie))


def test_help_of_everything(capsys: Capture) -> None:
    assert cli.main(["--help"]) == ExitCode.OK
    overview = capsys.readouterr().out
    names = {
        "up",
        "demo",
        "status",
        "reload",
        "audit",
        "migrate",
        "config",
        "psql",
        "journal",
        "dead-letter",
        "keys",
        "simulate",
    }
    assert names <= set(commands())
    for command in commands():
        assert command in overview
        [line] = [line for line in overview.splitlines() if line.split()[:1] == [command]]
        assert not line.endswith("..."), "the first sentence of a command's help has to fit"
        assert cli.main([command, "--help"]) == ExitCode.OK
        assert "Usage: hseie " + command in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    assert cli.main(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"hseie {__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--port", "no"], ["up", "--port", "70000"], ["up", "x"]])
def test_a_wrong_command_line(arguments: list[str], capsys: Capture) -> None:
    assert cli.main(arguments) == ExitCode.USAGE
    assert "Error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        *(["up"], ["demo"], ["status"], ["reload"], ["audit"], ["migrate"], ["config", "show"], ["psql"]),
        ["journal", "status"],
    ],
)
def test_a_wrong_configuration_is_one_line(command: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "my.toml").write_text("[http]\nprot = 1\n")
    assert cli.main([*command, "--config", "my.toml"]) == ExitCode.CONFIG
    captured = capsys.readouterr()
    assert captured.err == "hseie: unknown key http.prot (file my.toml); did you mean http.port?\n"
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["reload"]])
def test_no_node_answers(
    arguments: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.status.ASK_TIMEOUT_S", 0.05)
    assert cli.main([*arguments, "--data", str(tmp_path / "none")]) == ExitCode.UNAVAILABLE
    captured = capsys.readouterr()
    assert captured.err.startswith("hseie: no node answers")
    assert captured.err.count("\n") == 1


def test_a_node_of_somebody_else_is_not_called_missing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.status.ASK_TIMEOUT_S", 0.05)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)  # who runs the tests may be root, who may enter anything
    assert cli.main(["status", "--data", str(tmp_path)]) == ExitCode.UNAVAILABLE
    assert "is closed to this user; ask as the user that runs the node" in capsys.readouterr().err


def test_ctrl_c_while_modules_are_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 130


@pytest.mark.parametrize("command", ["audit", "migrate", "psql"])
def test_no_database_yet(command: str, tmp_path: Path, capsys: Capture) -> None:
    assert cli.main([command, "--data", str(tmp_path / "none")]) == ExitCode.UNAVAILABLE
    assert "no database yet" in capsys.readouterr().err


def config_show(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert cli.main(["config", "show", "--json", *arguments]) == ExitCode.OK
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_config_show_names_origins(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.toml").write_text("[writer]\nshards = 5\n")
    monkeypatch.setenv("HSEIE_HTTP__PORT", "4000")
    shown = config_show(capsys, "--config", "my.toml", "--data", "elsewhere")
    assert shown["writer.shards"] == {"value": 5, "origin": "file my.toml"}
    assert shown["http.port"] == {"value": 4000, "origin": "environment HSEIE_HTTP__PORT"}
    assert shown["node.data"] == {"value": "elsewhere", "origin": "command line"}
    assert shown["http.acceptors"] == {"value": 2, "origin": "default"}
    assert shown["postgres.url"] == {"value": "", "origin": "default"}


def test_config_show_hides_the_password_from_people_only(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3cret@db:5432/energy")
    assert cli.main(["config", "show"]) == ExitCode.OK
    table = capsys.readouterr().out
    assert "s3cret" not in table
    assert "postgresql://me:***@db:5432/energy" in table
    assert cli.main(["config", "show", "--secrets"]) == ExitCode.OK
    assert "s3cret" in capsys.readouterr().out
    assert config_show(capsys)["postgres.url"]["value"] == "postgresql://me:s3cret@db:5432/energy"


def test_config_show_knows_the_embedded_server(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "postgres"
    folder.mkdir(parents=True)
    (folder / "password").write_text("pw\n")
    (folder / "port").write_text("5555\n")
    shown = config_show(capsys, "--data", str(tmp_path / "data"))["postgres.url"]
    assert shown["origin"] == "embedded"
    assert ":pw@127.0.0.1:5555/" in shown["value"]


@pytest.mark.parametrize(
    ("answer", "expected", "out", "err"),
    [
        (
            {"outcome": "done", "exit_code": 0, "reason": "", "changed": ["log.level"], "replaced": ["writer-0"]},
            ExitCode.OK,
            "changed: log.level\nreplaced: writer-0\n",
            "",
        ),
        (
            {"outcome": "refused", "exit_code": 78, "reason": "no such key", "changed": [], "replaced": []},
            ExitCode.CONFIG,
            "",
            "hseie: the reload was refused, nothing has changed: no such key\n",
        ),
        (
            {"outcome": "failed", "exit_code": 1, "reason": "it does not start", "changed": [], "replaced": []},
            ExitCode.FAILURE,
            "",
            "hseie: the reload failed: it does not start\n",
        ),
    ],
)
def test_the_end_of_a_reload_is_told(
    answer: dict[str, Any],
    expected: ExitCode,
    out: str,
    err: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nobody(*_: Any) -> dict[str, Any]:
        return {}

    async def tell(*_: Any) -> dict[str, Any]:
        return {**answer, "id": 0}

    monkeypatch.setattr(commands_module, "ask_snapshot", nobody)
    monkeypatch.setattr(commands_module, "ask_reload", tell)
    assert cli.main(["reload"]) == expected
    assert capsys.readouterr() == (out, err)
    assert cli.main(["reload", "--json"]) == expected
    assert json.loads(capsys.readouterr().out)["outcome"] == answer["outcome"]


def test_a_reload_that_takes_longer_goes_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> dict[str, Any]:
        return {}

    async def never(*_: Any) -> dict[str, Any]:
        raise TimeoutError

    monkeypatch.setattr(commands_module, "ask_snapshot", nobody)
    monkeypatch.setattr(commands_module, "ask_reload", never)
    assert cli.main(["reload", "--timeout", "2"]) == ExitCode.FAILURE
    assert "has not ended: not over after 2 s; it goes on" in capsys.readouterr().err
