"""`hseie keys`, without a node and without PostgreSQL."""

import json
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from hseie import cli, clock, key_text
from hseie.errors import ExitCode
from hseie.keys import DeviceRegistry, KeyRing

Capture = pytest.CaptureFixture[str]
KEY = r"hseie_[a-z2-7]{10}_[A-Za-z0-9_-]{43}"


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No database answers, and the data folder is that of the test."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("HSEIE_NODE__DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HSEIE_AUTH__MODE", "keys")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.sqlite"


def run(capsys: Capture, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Run a command; return what it printed, and what it said beside."""
    assert cli.main(["keys", *arguments]) == code, capsys.readouterr()
    captured = capsys.readouterr()
    return captured.out, captured.err


def asked(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    return json.loads(run(capsys, *arguments, "--json", code=code)[0])


def create(capsys: Capture, name: str, *arguments: str) -> tuple[str, str]:
    """Make a key; return its id and its text."""
    made = asked(capsys, "create", name, "--scope", "ingest", *arguments)
    return made["key_id"], made["key"]


def test_a_key_is_printed_once_and_said_how_to_send(capsys: Capture, path: Path) -> None:
    out, said = run(capsys, "create", "fleet", "--scope", "ingest", "--scope", "read")
    assert re.fullmatch(KEY + "\n", out)  # alone: KEY=$(hseie keys create ...)
    assert "Authorization: Bearer <key>" in said
    assert "shown this once" in said
    assert out.strip() not in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ring = KeyRing(path)
    key = ring.find(out.strip())
    assert key is not None
    assert (key.name, key.scopes, key.is_good(clock.unix_s())) == ("fleet", {"ingest", "read"}, True)
    assert (key.readings_per_s, key.burst_readings, key.devices_max, key.expires_at) == (0.0, 0, 0, None)
    ring.close()
    for shown in (*run(capsys, "list", "--all"), *run(capsys, "list", "--all", "--json")):
        assert out.strip()[17:] not in shown


def test_all_that_a_key_may_be(capsys: Capture) -> None:
    before = clock.unix_s()
    more = "--device M1 --device M2 --prefix A --prefix B --readings-per-s 0.5 --burst 7 --devices-max 3 --expires 90d"
    made = asked(capsys, "create", "fleet", "--scope", "admin", *more.split())
    assert re.fullmatch(KEY, made.pop("key"))
    times = {name: made.pop(name) for name in ("created_at", "expires_at")}
    assert made == {
        "key_id": made["key_id"],
        "name": "fleet",
        "scopes": ["admin"],
        "devices": ["M1", "M2"],
        "prefixes": ["A", "B"],
        "readings_per_s": 0.5,
        "burst_readings": 7,
        "devices_max": 3,
        "devices_seen": 0,
        "revoked_at": None,
    }
    assert asked(capsys, "list") == {"keys": [{**made, **times}], "damaged": []}
    expires_at = key_text.expiry(times["expires_at"], before)
    assert 90 * 86_400 <= expires_at - before < 90 * 86_400 + 60
    lines = run(capsys, "list")[0].splitlines()
    assert len(lines) == 2
    assert "A*, B*, M1 and 1 more  0.5/s, 7 at once, 3 devices" in lines[1]


def test_a_key_is_changed_and_what_is_not_named_stays(capsys: Capture, path: Path) -> None:
    key_id, text = create(capsys, "fleet", *["--prefix", "A", "--devices-max", "1", "--expires", "90d"])
    ring, registry = KeyRing(path), DeviceRegistry(path)
    key = ring.find(text)
    assert key is not None
    assert registry.admit(key, ["A1", "A2"]) == {"A2"}
    before = asked(capsys, "list")["keys"][0]
    changed = asked(capsys, "change", "fleet", "--devices-max", "2")
    assert changed == {**before, "devices_max": 2, "devices_seen": 1}
    assert ring.refresh()
    key = ring.find(text)
    assert key is not None
    assert registry.admit(key, ["A1", "A2", "A3"]) == {"A3"}
    changed = asked(capsys, "change", key_id, "--readings-per-s", "500", "--expires", "never")
    assert (changed["readings_per_s"], changed["burst_readings"], changed["expires_at"]) == (500.0, 5000, None)
    assert asked(capsys, "change", key_id, "--burst", "7")["burst_readings"] == 7
    changed = asked(capsys, "change", key_id, "--readings-per-s", "0", "--devices-max", "0")
    assert [changed[name] for name in ("readings_per_s", "burst_readings", "devices_max")] == [None] * 3
    out, _ = run(capsys, "change", key_id, "--readings-per-s", "5", "--burst", "9", "--expires", "12h")
    assert f"Key {key_id} (fleet) is changed: limits 5/s, 9 at once, until " in out
    ring.close()
    registry.close()


def test_what_cannot_be_changed_is_refused(capsys: Capture) -> None:
    key_id, _ = create(capsys, "fleet")
    assert "nothing to change" in run(capsys, "change", key_id, code=ExitCode.USAGE)[1]
    assert "in the past" in run(capsys, "change", key_id, "--expires", "2020-01-01T00:00:00Z", code=ExitCode.USAGE)[1]
    assert "which this key has not" in run(capsys, "change", key_id, "--burst", "5", code=ExitCode.FAILURE)[1]
    assert "no key of that id" in run(capsys, "change", "nobody", "--burst", "5", code=ExitCode.FAILURE)[1]
    run(capsys, "revoke", key_id)
    said = run(capsys, "change", key_id, "--devices-max", "5", code=ExitCode.FAILURE)[1]
    assert "revoked, for good" in said


def test_a_rate_without_a_burst_gets_one(capsys: Capture) -> None:
    create(capsys, "slow", "--readings-per-s", "5")
    create(capsys, "fast", "--readings-per-s", "500")
    assert [key["burst_readings"] for key in asked(capsys, "list")["keys"]] == [1000, 5000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'NAME'"),
        (["fleet"], "Missing option '--scope'"),
        (["", "--scope", "ingest"], "1 to 64 printable"),
        (["a\tb", "--scope", "ingest"], "1 to 64 printable"),
        (["fleet", "--scope", "everything"], "'everything' is not one of"),
        (["fleet", "--scope", "ingest", "--prefix", "a b"], "'a b' is no beginning of a device id"),
        (["fleet", "--scope", "ingest", "--device", "METER*"], "'METER*' is no device id"),
        (["fleet", "--scope", "ingest", "--readings-per-s", "0"], "not in the range"),
        (["fleet", "--scope", "ingest", "--readings-per-s", "nan"], "no rate"),
        (["fleet", "--scope", "ingest", "--readings-per-s", "inf"], "not in the range"),
        (["fleet", "--scope", "ingest", "--burst", "5"], "--burst is about --readings-per-s"),
        (["fleet", "--scope", "ingest", "--devices-max", "0"], "not in the range"),
        (["fleet", "--scope", "ingest", "--devices-max", "1000001"], "1<=x<=1000000"),
        (["fleet", "--scope", "ingest", "--expires", "2020-01-01T00:00:00Z"], "in the past"),
        (["fleet", "--scope", "ingest", "--expires", "soon"], "90d or 12h, or an RFC 3339 time"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(
    arguments: list[str], message: str, capsys: Capture, path: Path
) -> None:
    _, said = run(capsys, "create", *arguments, code=ExitCode.USAGE)
    assert message in said
    assert not path.exists()


def test_a_list_shows_what_still_opens_and_all_on_demand(capsys: Capture, path: Path) -> None:
    assert run(capsys, "list")[0] == "There are no keys; `hseie keys create` makes one.\n"
    assert asked(capsys, "list") == {"keys": [], "damaged": []}
    good, revoked, expired = (create(capsys, name, "--expires", "2h")[0] for name in ("good", "revoked", "expired"))
    run(capsys, "revoke", revoked)
    now = clock.unix_s()
    sqlite = sqlite3.connect(path, isolation_level=None)
    sqlite.execute("UPDATE api_key SET expires_at = ? WHERE key_id = ?", (now - 1, expired))
    sqlite.close()
    assert [key["key_id"] for key in asked(capsys, "list")["keys"]] == [good]
    listed = {key["key_id"]: key["revoked_at"] is None for key in asked(capsys, "list", "--all")["keys"]}
    assert listed == {good: True, revoked: False, expired: True}
    out, _ = run(capsys, "list")
    assert out.endswith("2 more are revoked or expired; --all shows them.\n")
    assert "--all" not in run(capsys, "list", "--all")[0]


def test_keys_are_revoked_by_id_name_and_themselves(capsys: Capture, path: Path) -> None:
    (one, _), (two, _), (three, text) = (create(capsys, name) for name in ("one", "two", "three"))
    out, said = run(capsys, "revoke", one, "two", f"Bearer {text}")
    assert out.splitlines() == [
        f"Key {key_id} ({name}) is revoked." for key_id, name in ((one, "one"), (two, "two"), (three, "three"))
    ]
    assert text[17:] not in out + said
    assert asked(capsys, "revoke", one, "one", three) == {"revoked": [], "revoked_before": [one, three]}
    assert f"Key {one} (one) was revoked before." in run(capsys, "revoke", one)[0]
    ring = KeyRing(path)
    key = ring.find(text)
    assert key is not None
    assert not key.is_good(0.0)
    ring.close()


def test_of_keys_to_be_revoked_all_have_to_be_there(capsys: Capture) -> None:
    one, text = create(capsys, "one")
    other = text[:6] + "zzzzzzzzzz" + text[16:]
    for wrong in ("nobody", other):
        out, said = run(capsys, "revoke", one, wrong, code=ExitCode.FAILURE)
        assert said == "hseie: there is no key of that id or name; `hseie keys list --all` shows all there are\n"
        assert out == ""
    create(capsys, "one")
    assert "several keys have that name" in run(capsys, "revoke", "one", code=ExitCode.FAILURE)[1]
    assert [key["revoked_at"] for key in asked(capsys, "list", "--all")["keys"]] == [None, None]
    assert "Missing argument" in run(capsys, "revoke", code=ExitCode.USAGE)[1]


def test_devices_of_a_key(capsys: Capture, path: Path) -> None:
    key_id, text = create(capsys, "fleet", "--devices-max", "3")
    ring, registry = KeyRing(path), DeviceRegistry(path)
    key = ring.find(text)
    assert key is not None
    assert registry.admit(key, ["M1", "M2"]) == set()
    document = asked(capsys, "devices", "fleet")
    assert [device.pop("first_seen_at")[:2] for device in document["devices"]] == ["20", "20"]
    assert document == {"key_id": key_id, "devices_max": 3, "devices": [{"device": "M1"}, {"device": "M2"}]}
    assert run(capsys, "devices", key_id)[0].splitlines()[-1] == "2 of 3 devices."
    assert asked(capsys, "list")["keys"][0]["devices_seen"] == 2
    assert run(capsys, "devices", key_id, "--forget", "M1")[0] == "1 forgotten.\n"
    assert "has not reported for that device" in run(capsys, "devices", key_id, "--forget", "M1", code=1)[1]
    assert asked(capsys, "devices", key_id, "--forget-all") == {"key_id": key_id, "forgotten": 1}
    run(capsys, "devices", key_id, "--forget", "M1", "--forget-all", code=ExitCode.USAGE)
    assert asked(capsys, "devices", key_id)["devices"] == []
    ring.close()
    registry.close()
    create(capsys, "free")
    assert "has no --devices-max" in run(capsys, "devices", "free")[0]
    assert asked(capsys, "devices", "free")["devices_max"] is None


def test_a_revoked_key_is_removed_for_good(capsys: Capture) -> None:
    key_id, _ = create(capsys, "fleet")
    assert "still lets its holder in" in run(capsys, "remove", key_id, code=ExitCode.FAILURE)[1]
    run(capsys, "revoke", key_id)
    assert run(capsys, "remove", "fleet")[0] == f"Key {key_id} (fleet) is removed.\n"
    assert asked(capsys, "list", "--all")["keys"] == []
    assert "no key of that id or name" in run(capsys, "remove", key_id, code=ExitCode.FAILURE)[1]


@pytest.mark.parametrize("command", [["revoke", "x"], ["devices", "x"], ["remove", "x"]])
def test_without_a_file_there_is_no_key(command: list[str], capsys: Capture, path: Path) -> None:
    assert "there are no API keys yet; `hseie keys create`" in run(capsys, *command, code=ExitCode.FAILURE)[1]
    assert not path.parent.exists()


def test_it_is_said_when_nobody_is_asked_for_a_key(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = '! nobody is asked for a key at present: auth.mode is "none"'
    commands = (["create", "fleet", "--scope", "read"], ["list"], ["revoke", "fleet"])
    for command in commands:
        assert warning not in run(capsys, *command)[1]
    monkeypatch.setenv("HSEIE_AUTH__MODE", "none")
    for command in (["create", "another", "--scope", "read"], ["list"], ["revoke", "another"]):
        assert warning in run(capsys, *command)[1].splitlines()


def test_the_file_may_lie_elsewhere(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HSEIE_AUTH__KEYS_FILE", str(tmp_path / "else where?" / "my#keys.sqlite"))
    key_id, _ = create(capsys, "fleet")
    assert [file.name for file in tmp_path.iterdir()] == ["else where?"]
    assert asked(capsys, "list")["keys"][0]["key_id"] == key_id


def test_damaged_keys_and_files_are_told(capsys: Capture, path: Path) -> None:
    key_id, _ = create(capsys, "fleet")
    sqlite = sqlite3.connect(path, isolation_level=None)
    sqlite.execute("UPDATE api_key SET scopes = 'all'")
    sqlite.close()
    assert f"! key {key_id} is damaged" in run(capsys, "list", code=ExitCode.FAILURE)[0]
    assert asked(capsys, "list", code=ExitCode.FAILURE) == {"keys": [], "damaged": [key_id]}
    path.write_bytes(b"no database" * 1000)
    for command in (["list"], ["create", "x", "--scope", "read"], ["revoke", key_id]):
        _, said = run(capsys, *command, code=ExitCode.STORAGE)
        assert "the file of the API keys is damaged" in said
        assert said.count("\n") == 1
