"""`hseie pairs`, on a database without a node."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie import cli
from tests.integration.test_cli_audit import execute

Capture = pytest.CaptureFixture[str]
HEAD = "vehicleId,meterId,validFrom,validTo\n"


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


async def command(*arguments: str) -> int:
    return await asyncio.to_thread(cli.main, ["pairs", *arguments])  # a command has a loop of its own


async def asked(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert await command(*arguments, "--json") == code
    return json.loads(capsys.readouterr().out)


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


async def test_set_end_and_list(database: str, capsys: Capture) -> None:
    first = await asked(capsys, "set", "V", "A", "--from", ago(days=3))
    assert (first["pair"]["meterId"], first["pair"]["validTo"], first["changed"]) == ("A", None, True)
    assert await command("set", "V", "B") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" from ")[0] for line in lines] == ["V is fed by B", "ended: V is fed by A"]
    assert await command("set", "V", "B") == 0
    assert capsys.readouterr().out.endswith(": it was so already.\n")
    assert await command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0].split(), lines[1].split()[:2], lines[1].split()[3:]) == (
        ["vehicle", "meter", "from", "to"],
        ["V", "B"],
        ["-"],
    )
    assert await command("end", "V") == 0
    assert capsys.readouterr().out.startswith("ended: V is fed by B from ")
    assert await command("list") == 0
    assert capsys.readouterr().out == "There are no such pairings; the ids count.\n"
    found = await asked(capsys, "list", "--state", "ended", "--limit", "1")
    assert ([pair["meterId"] for pair in found["pairs"]], found["more"]) == (["A"], True)
    assert [pair["meterId"] for pair in (await asked(capsys, "list", "--state", "all", "--meter", "B"))["pairs"]] == [
        "B"
    ]
    assert (await asked(capsys, "list", "--state", "all", "--vehicle", "W"))["pairs"] == []


async def test_nobody_and_a_pairing_that_is_planned(database: str, capsys: Capture) -> None:
    begins = ago(days=-3)
    planned = await asked(capsys, "set", "V", "--nobody", "--from", begins, "--to", ago(days=-4))
    assert planned["pair"]["meterId"] is None
    assert await command("set", "V", "A") == 1
    assert "hseie: the vehicle is fed by no meter from " in capsys.readouterr().err
    assert await command("remove", "V", "--from", begins) == 0
    assert capsys.readouterr().out.startswith("removed: V is fed by nobody from ")
    assert await command("remove", "V", "--from", begins) == 1
    assert capsys.readouterr().err == "hseie: no pairing of this vehicle begins then\n"


async def test_a_pairing_is_undone_at_its_start(database: str, capsys: Capture) -> None:
    start = ago(days=2)
    await asked(capsys, "set", "V", "A", "--from", start)
    assert (await asked(capsys, "end", "V", "--at", start))["removed"][0]["meterId"] == "A"
    assert (await asked(capsys, "list", "--state", "all"))["pairs"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "V"],
        ["set", "V", "A", "--nobody"],
        ["set", "V V", "A"],
        ["set", "V", "A", "--from", "yesterday"],
        ["set", "V", "A", "--from", "2026-11-24"],
        ["remove", "V"],
        ["list", "--state", "none"],
        ["end", "V", "--at", "2026-11-24T12:00:00"],
    ],
)
async def test_what_is_no_command(database: str, capsys: Capture, arguments: list[str]) -> None:
    assert await command(*arguments) == 64
    assert "Error:" in capsys.readouterr().err


async def test_times_that_cannot_be(database: str, capsys: Capture) -> None:
    assert await command("set", "V", "A", "--from", ago(days=401)) == 1
    assert "validFrom: must not lie further back" in capsys.readouterr().err
    assert await command("set", "V", "A", "--to", ago(days=1)) == 1
    assert "validTo: must lie after the start" in capsys.readouterr().err


async def test_a_file_is_taken_whole_or_not_at_all(database: str, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f"{HEAD}V,A,{ago(days=3)},\nW,B,,\nX,,,\nY Y,C,,\nZ,D,{ago(days=500)},\n")
    assert await command("import", str(file)) == 1
    error = capsys.readouterr().err
    assert "1 lines are wrong, nothing was changed:\n  line 5: vehicleId: " in error
    file.write_text(file.read_text().replace("Y Y", "Y"))
    assert await command("import", str(file)) == 1
    assert "  line 6: validFrom: must not lie further back" in capsys.readouterr().err
    assert (await asked(capsys, "list", "--state", "all"))["pairs"] == []
    file.write_text(file.read_text().replace("500", "5").rsplit("Z,D", 1)[0])
    assert await asked(capsys, "import", str(file)) == {"lines": 4, "changed": 4}
    assert await command("export") == 0
    exported = capsys.readouterr().out
    assert [line.split(",")[:2] for line in exported.splitlines()[1:]] == [
        ["V", "A"],
        ["W", "B"],
        ["X", ""],
        ["Y", "C"],
    ]
    file.write_bytes(exported.encode())
    assert await command("import", str(file)) == 0
    assert capsys.readouterr().out == "0 pairings set, 4 were so already.\n"


async def test_what_is_no_file_of_pairings(database: str, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes(b"vehicleId,meterId\n\xff,A\n")
    assert await command("import", str(file)) == 1
    assert "not UTF-8" in capsys.readouterr().err
    file.write_bytes(b"")
    assert await command("import", str(file)) == 1
    assert "no first line" in capsys.readouterr().err


async def test_ten_thousand_pairings_at_once(database: str, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    start = ago(days=1)
    file.write_text(HEAD + "".join(f"CAR-{number},POINT-{number},{start},\n" for number in range(10_000)))
    assert await asked(capsys, "import", str(file)) == {"lines": 10_000, "changed": 10_000}
    # All of them get another meter, which another one had until then.
    file.write_text(HEAD + "".join(f"CAR-{number},POINT-{(number + 1) % 10_000},,\n" for number in range(10_000)))
    assert (await asked(capsys, "import", str(file)))["changed"] == 10_000
    assert len((await asked(capsys, "list", "--limit", "20000"))["pairs"]) == 10_000
    assert len((await asked(capsys, "list", "--state", "ended", "--limit", "20000"))["pairs"]) == 10_000


async def test_a_change_that_somebody_keeps_waiting_says_so(
    database: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSEIE_POSTGRES__LOCK_TIMEOUT_MS", "200")
    waiting = asyncio.ensure_future(
        execute(database, "BEGIN; LOCK TABLE device_pair IN SHARE MODE; SELECT pg_sleep(3); COMMIT")
    )
    await asyncio.sleep(0.5)
    assert await command("set", "V", "A") == 69
    assert "lock timeout" in capsys.readouterr().err
    await waiting
