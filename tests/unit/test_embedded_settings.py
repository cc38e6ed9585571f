"""The settings of the embedded PostgreSQL, as a function of the machine."""

import os
from pathlib import Path

import pytest

from hseie.embedded.log import ServerLog
from hseie.embedded.settings import (
    GIB,
    HBA,
    LOG_FILE_MIB,
    LOG_FILES,
    MIB,
    Machine,
    configuration_file,
    for_ingest,
    this_machine,
)

SERVER = Machine(memory_bytes=64 * GIB, cores=16, shared_memory_free_bytes=32 * GIB, disk_free_bytes=1000 * GIB)
CONTAINER = Machine(memory_bytes=512 * MIB, cores=1, shared_memory_free_bytes=64 * MIB, disk_free_bytes=2 * GIB)


@pytest.mark.parametrize("machine", [SERVER, CONTAINER])
def test_nothing_that_an_answer_rests_on_is_ever_off(machine: Machine) -> None:
    settings = for_ingest(machine, "")
    assert [settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    assert settings["timezone"] == "UTC"


def test_a_large_machine_does_not_give_everything_to_the_server() -> None:
    settings = for_ingest(SERVER, "")
    assert settings["shared_buffers"] == "8192MB"
    assert settings["max_wal_size"] == "8192MB"
    assert settings["max_parallel_workers_per_gather"] == "2"
    assert settings["dynamic_shared_memory_type"] == "posix"


def test_a_small_container_is_not_overrun() -> None:
    settings = for_ingest(CONTAINER, "")
    assert settings["shared_buffers"] == "128MB"
    assert settings["max_wal_size"] == "256MB"  # a tenth of its disk would be less than checkpoints can live with
    assert settings["max_parallel_workers_per_gather"] == "0"
    assert settings["dynamic_shared_memory_type"] == "mmap"  # 64 MB of /dev/shm do not hold a parallel query


@pytest.mark.parametrize(
    ("configure", "expected"),
    [("'--with-lz4' '--with-zstd'", "lz4"), ("'--with-zstd'", "zstd"), ("'--without-icu'", "off"), ("", "off")],
)
def test_wal_is_compressed_with_what_the_build_has(configure: str, expected: str) -> None:
    assert for_ingest(SERVER, configure)["wal_compression"] == expected


def test_values_are_quoted() -> None:
    assert configuration_file({"log_line_prefix": "it's "}).splitlines()[-1] == "log_line_prefix = 'it''s '"


def test_every_access_rule_asks_for_the_password_and_is_for_loopback() -> None:
    rules = [line.split() for line in HBA.splitlines() if not line.startswith("#")]
    assert rules
    assert {(rule[0], *rule[3:]) for rule in rules} == {("host", "127.0.0.1/32", "scram-sha-256")}


def test_this_machine_is_measured(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert 0 < machine.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.disk_free_bytes > 0


def test_the_log_keeps_its_newest_files_only(tmp_path: Path) -> None:
    (tmp_path / "pgdata" / "log").mkdir(parents=True)
    for day in range(1, 20):
        (tmp_path / "pgdata" / "log" / f"postgresql-202611{day:02}-120000.log").touch()
    (tmp_path / "pgdata" / "log" / "notes.txt").touch()
    ServerLog(tmp_path, tmp_path / "pgdata").trim()
    left = sorted(path.name for path in (tmp_path / "pgdata" / "log").iterdir())
    assert left == ["notes.txt", *(f"postgresql-202611{day:02}-120000.log" for day in range(13, 20))]
    assert LOG_FILES * LOG_FILE_MIB <= 100


def test_the_tail_of_the_log_is_of_this_start(tmp_path: Path) -> None:
    (tmp_path / "pgdata" / "log").mkdir(parents=True)
    file = tmp_path / "pgdata" / "log" / "postgresql-20261101-120000.log"
    file.write_text("FATAL:  of last week\n")
    log = ServerLog(tmp_path, tmp_path / "pgdata")
    log.mark_start()
    log.startup.write_text("redirecting\n")
    assert log.tail() == "redirecting"
    with file.open("a") as appended:
        appended.writelines(f"line {number}\n" for number in range(100))
    assert log.tail(lines=2) == "line 98\nline 99"
    assert "of last week" not in log.tail(lines=1000)
