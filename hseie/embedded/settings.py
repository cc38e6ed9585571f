"""The settings of the embedded PostgreSQL: made for ingest, from what the machine has. Each stands with its reason."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
GIB = 1024 * MIB

LOG_FILES = 7
LOG_FILE_MIB = 10

# Password on loopback, and nothing else: no socket file, no other address, never trust.
HBA = """\
# Written by HSEIE at every start: changes made here are lost.
host    all             all     127.0.0.1/32    scram-sha-256
host    replication     all     127.0.0.1/32    scram-sha-256
"""


@dataclass(frozen=True)
class Machine:
    """What the settings are derived from. Memory is what we may use: the container's limit if there is one."""

    memory_bytes: int
    cores: int
    shared_memory_free_bytes: int
    disk_free_bytes: int


def this_machine(folder: Path) -> Machine:
    """Measures the machine; `folder` is where the cluster lies or will lie."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            memory = min(memory, int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # the file is of the other cgroup version, or says "max"
    try:
        shared_memory_free = shutil.disk_usage("/dev/shm").free  # noqa: S108 - asked for its size only
    except OSError:
        shared_memory_free = 0
    return Machine(memory, len(os.sched_getaffinity(0)), shared_memory_free, shutil.disk_usage(folder).free)


def for_ingest(machine: Machine, configure: str) -> dict[str, str]:
    """Settings for many small COPY transactions into day partitions, on a machine that runs the rest of HSEIE too.

    `configure` is the output of `pg_config --configure`: what this build can do.
    """
    memory = machine.memory_bytes
    return {
        # Promise P1 and the journal rest on these: a frame leaves the journal once its commit is believed.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # A quarter of the memory is the usual start. Appends gain nothing beyond 2 GB, but questions do: the index of a
        # nominal fleet's day has 3.6 GB, and of those that read anywhere in it a twelfth of PostgreSQL's time went into
        # fetching pages from the kernel.
        "shared_buffers": _mib(_clamp(memory // 4, 64 * MIB, 8 * GIB)),
        "effective_cache_size": _mib(_clamp(memory * 6 // 10, 128 * MIB, memory)),
        "work_mem": _mib(_clamp(memory // 512, 4 * MIB, 32 * MIB)),
        "maintenance_work_mem": _mib(_clamp(memory // 32, 32 * MIB, 512 * MIB)),
        # Writers, the pools of analytics and maintenance, and a few people with psql.
        "max_connections": "80",
        # Few, wide checkpoints: each one makes every page that changes afterwards go to the WAL whole.
        # Never more of the disk than a tenth: the folder also holds journals and history.
        "max_wal_size": _mib(_clamp(machine.disk_free_bytes // 10, 256 * MIB, 8 * GIB)),
        "min_wal_size": _mib(_clamp(machine.disk_free_bytes // 50, 80 * MIB, 1 * GIB)),
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        "wal_compression": _wal_compression(configure),
        # History only grows: vacuum soon after inserts, so that index-only scans find pages marked visible.
        "autovacuum_vacuum_insert_threshold": "50000",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        # The current tables change all the time and are small.
        "autovacuum_vacuum_scale_factor": "0.1",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_naptime": "30s",
        "autovacuum_max_workers": str(_clamp(machine.cores // 2, 2, 4)),
        "autovacuum_vacuum_cost_limit": "1000",
        # Compiling a query takes longer than most of ours run.
        "jit": "off",
        # Solid state: a page elsewhere costs hardly more than the next one.
        "random_page_cost": "1.1",
        "effective_io_concurrency": "64",
        # Queries must not take the cores that ingest lives on.
        "max_parallel_workers_per_gather": str(_clamp(machine.cores // 4, 0, 2)),
        "max_parallel_workers": str(_clamp(machine.cores // 2, 1, 8)),
        "max_parallel_maintenance_workers": str(_clamp(machine.cores // 4, 0, 2)),
        # Containers have 64 MB of /dev/shm unless told otherwise, and parallel queries fail when it is full.
        "dynamic_shared_memory_type": "posix" if machine.shared_memory_free_bytes >= GIB else "mmap",
        "max_logical_replication_workers": "0",  # nothing is replicated here: one process less
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "lc_messages": "C",  # the messages are also read by us
        "track_io_timing": "on",
        "log_lock_waits": "on",
        **_log_settings(),
    }


def _log_settings() -> dict[str, str]:
    # Its own rotation only ever adds files (truncating works by time, not by size): embedded.py removes the oldest.
    return {
        "logging_collector": "on",
        "log_destination": "stderr",
        "log_directory": "log",
        "log_filename": "postgresql-%Y%m%d-%H%M%S.log",
        "log_file_mode": "0600",
        "log_rotation_age": "1d",
        "log_rotation_size": f"{LOG_FILE_MIB}MB",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %a ",
        "log_startup_progress_interval": "5s",  # the sign of life that start() waits on during a long recovery
    }


def configuration_file(settings: dict[str, str]) -> str:
    """The text of a postgresql.conf with these settings."""
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
    return "\n".join(["# Written by HSEIE at every start: changes made here are lost. ALTER SYSTEM lasts.", *lines, ""])


def _wal_compression(configure: str) -> str:
    # The method that every build has (pglz) costs more CPU per page than it saves in writing.
    if "--with-lz4" in configure:
        return "lz4"
    return "zstd" if "--with-zstd" in configure else "off"


def _clamp(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(value, highest))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // MIB}MB"
