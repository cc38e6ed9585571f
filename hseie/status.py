"""`hseie status`: the processes of a running node, what is wrong with them, and what to do."""

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

import click
import orjson

from hseie.config import Config
from hseie.control import Snapshot, ask_snapshot, run_dir_of
from hseie.errors import ExitCode
from hseie.tables import print_table

ASK_TIMEOUT_S = 3.0

# As the alert HseieCertificateEnds has it.
_CERTIFICATE_WARN_S = 14 * 86_400.0

# As the alert HseieRollupsBehind has it.
_ROLLUPS_WARN_S = 3 * 3600.0

# What a writer's `database` figure says, and what to do about it.
_DATABASE = {
    "away": "PostgreSQL does not answer; readings wait in the journal. Start PostgreSQL, or look at postgres.url",
    "locked": "somebody holds a lock on our tables; readings wait in the journal. Look into pg_stat_activity",
    "schema": "the tables are missing or not as expected; readings wait in the journal. Run `hseie migrate`",
    "refusing": "PostgreSQL refuses too many rows; readings wait in the journal. The log names the reason",
}

# What a writer's `journal` figure says while its shard takes nothing.
_JOURNAL = {
    "full": "the journal is full: devices get 503 until PostgreSQL has taken enough of it. Bring PostgreSQL back, or "
    "raise writer.journal_bytes_max",
    "stuck": "a sync of the journal does not end: nothing is acknowledged, devices get 503. See whether its disk still "
    "answers; it goes on by itself when it does",
    "disk_full": "the disk of the journal is nearly full: devices get 503 until there is room again. Make room, or "
    "lower writer.disk_free_bytes_min",
}

# What maintenance's `archive_trouble` figure says: old days stay in PostgreSQL, and nothing is lost.
_ARCHIVE = {
    "no_duckdb": "days are not archived, DuckDB is not installed: install the extra `archive`, or have them dropped",
    "folder": "days are not archived: see to the folder of the archive and its disk; it is tried again",
    "day": "a day cannot be archived, others are: `archive_held_up` in the log of maintenance says which, and why",
    "damaged": "an archived file was damaged before its day left PostgreSQL, and is written anew: see to that disk",
    "clock": "days are not archived: no reading is new enough for them to be old; see to the clock of this machine",
    "rollups_behind": "days are not archived until their rollups are made: see why these are behind",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what an operator can do."""

    process: str
    text: str


def find_problems(snapshot: Snapshot) -> list[Problem]:
    """Return what keeps the node from being ready, in the order of its processes."""
    found = []
    for row in snapshot["processes"]:
        name, stats = row["name"], row["stats"]
        if row["state"] in ("down", "given_up"):
            last = row["last_exit"]
            ended = last["text"] if last else "not started yet"
            again = (
                "is not started again" if row["state"] == "given_up" else "is started again by itself; look at its log"
            )
            found.append(Problem(name, f"down ({ended}); {again}"))
        elif row["state"] != "ready":
            found.append(Problem(name, row["state"]))
        if advice := _DATABASE.get(stats.get("database", "")):
            found.append(Problem(name, advice))
        if advice := _JOURNAL.get(stats.get("journal", "")):
            found.append(Problem(name, advice))
        if trouble := stats.get("trouble"):
            found.append(Problem(name, str(trouble).replace("_", " ")))
    node = snapshot["node"]
    if doing := node.get("reloading"):
        found.append(Problem("node", f"reloading: {doing}"))
    elif missing := node.get("missing"):
        last = node["last_reload"]
        text = f"{', '.join(missing)} not started: a reload failed before. The last one: {last['outcome']}"
        found.append(Problem("node", f"{text}: {last['reason']}"))
    if not found and node["state"] != "ready":
        found.append(Problem("node", node["state"]))
    return found


def find_warnings(snapshot: Snapshot) -> list[Problem]:
    """Return what does not keep the node from being ready and should be looked at all the same."""
    found = []
    if snapshot["node"].get("access") == "everybody":
        found.append(
            Problem(
                "node",
                "listens on a network and asks nobody for a key, as auth.open_to_network permits: who reaches it may "
                "send readings and read all of them. Set auth.mode = keys, unless something else guards the port",
            )
        )
    found += _of_certificates(snapshot, time.time())
    for row in snapshot["processes"]:
        stats = row["stats"]
        if trouble := stats.get("keys_trouble"):
            found.append(Problem(row["name"], trouble))
        if advice := _ARCHIVE.get(stats.get("archive_trouble", "")):
            reason = stats.get("archive_trouble_reason")
            found.append(Problem(row["name"], f"{advice} ({reason})" if reason else advice))
        if foreign := stats.get("partitions_foreign"):
            text = f"{foreign} partitions are not those of a day and never leave history: "
            found.append(Problem(row["name"], f"{text}{stats['partitions_foreign_names']}. See the runbook"))
        if (behind_s := stats.get("rollup_lag_s", 0)) > _ROLLUPS_WARN_S:
            text = f"rollups end {duration(behind_s)} ago; long ranges are answered slowly. See the runbook"
            found.append(Problem(row["name"], text))
        if stats.get("journal") == "slow":
            took = max(stats.get("sync_ms", 0), stats.get("sync_under_way_ms", 0))
            found.append(
                Problem(
                    row["name"],
                    f"the disk of the journal is slow (a sync takes {took:.0f} ms): acknowledgements wait for it. See "
                    "what else writes to that disk, and whether it is failing",
                )
            )
    return found


def _of_certificates(snapshot: Snapshot, now: float) -> list[Problem]:
    """Return what is wrong with the TLS certificate, once and not of each process. `now` is Unix seconds."""
    bearers = [row["stats"] for row in snapshot["processes"] if row["stats"].get("certificate_expires_at")]
    found = [
        f"the certificate was not renewed, the former one is in use: {trouble}"
        for trouble in dict.fromkeys(stats["certificate_trouble"] for stats in bearers)
        if trouble
    ]
    left_s = min((stats["certificate_expires_at"] for stats in bearers), default=now + _CERTIFICATE_WARN_S) - now
    if left_s <= 0:
        found.append("the TLS certificate has expired: clients turn away. Renew the file in tls.certificate")
    elif left_s < _CERTIFICATE_WARN_S:
        found.append(f"the TLS certificate ends in {int(left_s // 86_400)} days. Renew the file in tls.certificate")
    return [Problem("node", text) for text in found]


def show_status(config: Config, *, as_json: bool) -> ExitCode:
    """Print the status. Raises NotReachableError when no node answers."""
    snapshot = asyncio.run(ask_snapshot(run_dir_of(config.data_dir), ASK_TIMEOUT_S))
    problems, warnings = find_problems(snapshot), find_warnings(snapshot)
    if as_json:
        document = {
            **snapshot,
            "ready": not problems,
            "problems": [asdict(problem) for problem in problems],
            "warnings": [asdict(warning) for warning in warnings],
        }
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        _print(snapshot, [*problems, *warnings])
    return ExitCode.FAILURE if problems else ExitCode.OK


def _print(snapshot: Snapshot, problems: list[Problem]) -> None:
    node = snapshot["node"]
    click.echo(f"HSEIE {node['version']}, pid {node['pid']}: {node['state']}, {node['url']}, data {node['data']}")
    click.echo(f"PostgreSQL: {node['postgres']} {node['postgres_url']}")
    click.echo(f"configuration: {node['config']}{last_reload(node)}")
    columns = ("process", "state", "pid", "restarts", "configuration", "uptime", "memory", "cpu", "figures")
    rows = [_cells(row) for row in snapshot["processes"]]
    print_table(columns, rows, right=("pid", "restarts", "uptime", "memory", "cpu"))
    for problem in problems:
        click.echo(f"! {problem.process}: {problem.text}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        row["state"],
        str(row["pid"] or "-"),
        str(row["restarts"]),
        row.get("config", "-"),
        duration(row["uptime_s"]),
        f"{row['rss_bytes'] / 1e6:.0f} MB" if row["rss_bytes"] else "-",
        f"{row['cpu_s']:.1f} s" if row["cpu_s"] else "-",
        figures(row["stats"]),
    )


def last_reload(node: dict[str, Any]) -> str:
    """Return how the last reload ended, in words; nothing where there was none."""
    last = node["last_reload"]
    if last is None:
        return ""
    ago = duration(max(time.time() - last["at"], 0.0))
    return f", last reload {last['outcome']} {ago} ago" + (f": {last['reason']}" if last["reason"] else "")


def figures(stats: dict[str, Any]) -> str:
    """Return a process's own figures in a few words: per kind the readings that wait, then its plain figures."""
    parts = [
        f"{kind} {counts['waiting'] + counts['active']} in flight of {counts['received']}"
        for kind, counts in stats.get("kinds", {}).items()
    ]
    shown = ("requests", "readings", "in_flight", "database", "journal", "journal_bytes", "sync_ms", "rounds", "p99_ms")
    parts += [f"{name.replace('_', ' ')} {stats[name]}" for name in shown if name in stats]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a span of time in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
