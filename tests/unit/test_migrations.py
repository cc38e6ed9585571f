"""Which migrations are pending, and what is wrong with their files."""

from pathlib import Path

import pytest

from hseie.errors import ExitCode, MigrationError
from hseie.migrations import Migration, pending, read_migrations

ONE = Migration(1, "0001_one.sql", "SELECT 1", "aa")
TWO = Migration(2, "0002_two.sql", "SELECT 2", "bb")


def folder_with(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    return tmp_path


def test_the_files_of_this_version_are_in_order() -> None:
    found = read_migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert len({migration.checksum for migration in found}) == len(found)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0001_a.sql", "0003_b.sql"], "0002 was expected"),
        (["0001_a.sql", "0001_b.sql"], "0002 was expected"),
        (["0002_a.sql"], "0001 was expected"),
        (["first.sql"], "the name must be like"),
        (["0001_Upper.sql"], "the name must be like"),
    ],
)
def test_bad_files(tmp_path: Path, names: list[str], complaint: str) -> None:
    with pytest.raises(MigrationError, match=complaint) as caught:
        read_migrations(folder_with(tmp_path, *names))
    assert caught.value.exit_code == ExitCode.CONFIG


def test_pending_is_what_was_not_applied() -> None:
    assert pending([ONE, TWO], {}) == [ONE, TWO]
    assert pending([ONE, TWO], {1: ("0001_one.sql", "aa")}) == [TWO]
    assert pending([ONE, TWO], {1: ("0001_one.sql", "aa"), 2: ("0002_two.sql", "bb")}) == []


def test_a_changed_file_is_refused() -> None:
    with pytest.raises(MigrationError, match=r"0001_one\.sql was changed"):
        pending([ONE, TWO], {1: ("0001_one.sql", "other")})


def test_a_database_of_a_newer_version_is_not_touched() -> None:
    with pytest.raises(MigrationError, match=r"0003_three.*newer HSEIE"):
        pending([ONE, TWO], {3: ("0003_three.sql", "cc")})
