"""The oracle: what was sent and promised, beside what the database holds.

After any fault and its healing: every reading of a 2xx is in history exactly once, or in `dead_letter`; every stored
row was sent, and not refused; a reading without a final answer is stored once or not at all; the current state of a
device is its newest reading; the books balance; a fresh reading is accepted and visible.

Readings are compared as keys, made from the wire and from the tables on ways of their own: kind, device, time in
microseconds, values as whole numbers of their last decimal.
"""

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hseie.database import with_connection
from tests.system.node import Node

Key = tuple[str, str, int, tuple[int, ...]]
Reading = dict[str, Any]

# Per kind: columns and decimals of the values, and their names on the wire, in the order of the tables.
VALUES = {
    "meter": (("kwh_consumed_ac", 4, "kwhConsumedAc"), ("voltage", 2, "voltage")),
    "vehicle": (("soc", 2, "soc"), ("kwh_delivered_dc", 4, "kwhDeliveredDc"), ("battery_temp", 2, "batteryTemp")),
}
EXAMPLES = 5
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_key(kind: str, device: str, time: str, values: Sequence[Any]) -> Key:
    """The key of a reading from its texts and numbers. Time without an offset is UTC, as in COPY text."""
    moment = datetime.fromisoformat(time)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    wholes = [
        int((Decimal(str(value)) * 10**decimals).to_integral_value())
        for value, (_, decimals, _) in zip(values, VALUES[kind], strict=True)
    ]
    return kind, device, (moment - EPOCH) // timedelta(microseconds=1), tuple(wholes)


def key_of(kind: str, reading: Reading) -> Key:
    """The key of a reading as it goes on the wire."""
    values = [reading[name] for _, _, name in VALUES[kind]]
    return make_key(kind, reading[f"{kind}Id"], reading["timestamp"], values)


@dataclass
class Ledger:
    """What the clients know: `promised` readings got a 2xx, `possible` ones may be stored (the promised among them)."""

    promised: set[Key] = field(default_factory=set)
    possible: set[Key] = field(default_factory=set)
    acknowledged: int = 0  # times that a reading got a 2xx, re-sends too
    wrongs: list[str] = field(default_factory=list)  # what the answers alone give away

    def read(self, file: Path) -> "Ledger":
        """Add what the simulator wrote with --ledger."""
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                self._add(json.loads(line))
        return self

    def _add(self, request: Mapping[str, Any]) -> None:
        malformed, refused = set(request["malformed"]), set(request["rejected_at"])
        final = request["outcome"] in ("accepted", "rejected")
        if final and malformed != refused:
            self.wrongs.append(f"of {request['readings']} were malformed {malformed}, and refused {refused}")
        for index, (kind, device, time, *values) in enumerate(request["readings"]):
            if index not in malformed and index not in refused:
                self._took(make_key(kind, device, time, values), promised=request["outcome"] == "accepted")

    def note(self, kind: str, readings: Iterable[Reading], *, promised: bool = True) -> None:
        """Add good readings that were sent by hand."""
        for reading in readings:
            self._took(key_of(kind, reading), promised=promised)

    def _took(self, key: Key, *, promised: bool) -> None:
        self.possible.add(key)
        if promised:
            self.promised.add(key)
            self.acknowledged += 1


@dataclass
class Stored:
    """What the tables hold. `newest` and `current` are per kind and device."""

    history: Counter[Key] = field(default_factory=Counter)
    dead: Counter[Key] = field(default_factory=Counter)
    newest: dict[tuple[str, str], Key] = field(default_factory=dict)
    current: dict[tuple[str, str], Key] = field(default_factory=dict)


async def read_stored(url: str) -> Stored:
    """Read all of it, at one moment of the database."""

    async def work(connection: Any) -> Stored:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _read(connection)

    return await with_connection(url, "system tests", work)


async def _read(connection: Any) -> Stored:
    stored = Stored()
    for kind, values in VALUES.items():
        wholes = ", ".join(f"({column} * {10**decimals})::bigint" for column, decimals, _ in values)
        columns = f"{kind}_id, (extract(epoch FROM timestamp) * 1000000)::bigint, {wholes}"
        # In the order in which the later one of a device wins: by time and, at equal times, by arrival.
        for row in await connection.fetch(f"SELECT {columns} FROM {kind}_history ORDER BY timestamp, id"):
            key = (kind, row[0], row[1], tuple(row[2:]))
            stored.history[key] += 1
            stored.newest[kind, row[0]] = key
        for row in await connection.fetch(f"SELECT {columns} FROM {kind}_current"):
            stored.current[kind, row[0]] = (kind, row[0], row[1], tuple(row[2:]))
    for kind, original in await connection.fetch("SELECT kind, original FROM dead_letter"):
        device, time, *texts = original.split("\t")
        stored.dead[make_key(kind, device, time, texts)] += 1
    return stored


def compare(ledger: Ledger, stored: Stored) -> list[str]:
    """Every way in which the two do not agree, with examples; empty when all is well."""
    kept = stored.history + stored.dead
    found = {
        "promised and not stored": ledger.promised - kept.keys(),
        "stored more than once": {key for key, times in kept.items() if times > 1},
        "stored, but never sent or refused": kept.keys() - ledger.possible,
        "current, but not the newest": set(stored.current.values()) ^ set(stored.newest.values()),
    }
    differences = [f"{len(keys)} {what}: {sorted(keys)[:EXAMPLES]}" for what, keys in found.items() if keys]
    return differences + ledger.wrongs[:EXAMPLES]


def now_text(ago_s: float = 0.0) -> str:
    """A moment as the wire wants it."""
    moment = datetime.now(UTC) - timedelta(seconds=ago_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def meter(device: str, amount: float = 1.0, *, time: str | None = None, volts: float = 230.0) -> Reading:
    return {"meterId": device, "kwhConsumedAc": amount, "voltage": volts, "timestamp": time or now_text()}


def device_of(shard: int, shards: int, prefix: str) -> str:
    """A device that belongs to a shard (CRC-32 of the id, as ARCHITECTURE.md promises)."""
    return next(name for n in range(1000) if zlib.crc32((name := f"{prefix}-{n}").encode()) % shards == shard)


def prove_fresh(node: Node, ledger: Ledger, shards: int) -> None:
    """A fresh reading of each shard is accepted, committed and visible.

    A shard commits in order: after this, all that was acknowledged before is in PostgreSQL too.
    """
    for shard in range(shards):
        reading = meter(device_of(shard, shards, "fresh"))
        answer, _ = node.deliver("meter", reading, Prefer="wait=30")
        assert (answer.status, answer.body.get("mode")) == (201, "direct"), answer
        ledger.note("meter", [reading])
        state = node.get(f"/v1/ingest/meter/{reading['meterId']}/current")
        assert (state.status, state.body["timestamp"]) == (200, reading["timestamp"]), state


def prove_nothing_lost(node: Node, ledger: Ledger, shards: int = 2) -> Stored:
    """The whole oracle, against a node that is ready."""
    prove_fresh(node, ledger, shards)
    stored = asyncio.run(read_stored(node.dsn()))
    assert compare(ledger, stored) == []
    audit = node.audit()
    assert audit["differences"] == []
    books = audit["kinds"].values()
    assert sum(kind["received"] for kind in books) >= ledger.acknowledged
    assert sum(kind["stored"] for kind in books) == stored.history.total()
    print(
        f"the ledger: {ledger.acknowledged} acknowledged, {stored.history.total()} stored, {stored.dead.total()} dead"
    )
    return stored
