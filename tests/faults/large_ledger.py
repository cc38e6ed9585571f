"""The oracle for long runs: the same question as tests/system/ledger.py, for more readings than fit into memory.

Both sides are written as lines of text, made on ways of their own, and spread over files by a hash of the device; then
file is compared with file. A reading's line is `kind, device, time, values`, with tabs between.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from hseie.database import with_connection
from tests.system.ledger import EXAMPLES, VALUES

FILES = 64
_FORMATS = {
    kind: "\t".join(["%s", "%s", "%s", *(f"%.{decimals}f" for _, decimals, _ in VALUES[kind])]) for kind in VALUES
}

PROMISED, POSSIBLE = b"+", b"?"


@dataclass
class Outcome:
    """Counts in readings; `differences` is empty when all is well."""

    acknowledged: int = 0  # times that a reading got a 2xx, re-sends too
    promised: int = 0  # different readings that got one
    stored: int = 0
    differences: list[str] = field(default_factory=list)


class _Files:
    """One side of the comparison, spread over files."""

    def __init__(self, folder: Path, side: str) -> None:
        folder.mkdir(exist_ok=True)
        self.paths = [folder / f"{side}-{number:02}" for number in range(FILES)]

    def write(self, lines: Iterable[bytes]) -> int:
        """Take lines, each with its device in the second column; return how many there were."""
        count = 0
        with ExitStack() as stack:
            files: list[IO[bytes]] = [stack.enter_context(path.open("ab", buffering=1 << 18)) for path in self.paths]
            for line in lines:
                count += 1
                files[zlib.crc32(line.split(b"\t", 2)[1]) % FILES].write(line + b"\n")
        return count


def lines_of_ledger(file: Path, outcome: Outcome) -> Iterator[bytes]:
    """The readings that a fleet wrote with --ledger, each behind a mark: promised, or possibly stored."""
    with file.open("rb") as requests:
        for text in requests:
            request = orjson.loads(text)
            refused = {*request["malformed"], *request["rejected_at"]}
            accepted = request["outcome"] == "accepted"
            mark = PROMISED if accepted else POSSIBLE
            for index, (kind, *reading) in enumerate(request["readings"]):
                if index not in refused:
                    outcome.acknowledged += accepted
                    yield mark + (_FORMATS[kind] % (kind, *reading)).encode()


async def _write_stored(url: str, folder: Path) -> list[Path]:
    """Write all rows of history, a file a kind."""
    files = [folder / f"history-{kind}" for kind in VALUES]

    async def work(connection: Any) -> None:
        for kind, file in zip(VALUES, files, strict=True):
            time = "to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
            values = ", ".join(column for column, _, _ in VALUES[kind])
            query = f"SELECT '{kind}', {kind}_id, {time}, {values} FROM {kind}_history"
            await connection.copy_from_query(query, output=file, format="text")

    await with_connection(url, "fault suite", work)
    return files


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for line in lines:
            yield line[:-1]


async def compare(ledgers: Iterable[Path], url: str, folder: Path) -> Outcome:
    """Compare what fleets wrote down with history. Dead letters are not looked at: a run of good rows has none."""
    outcome = Outcome()
    sent, kept = _Files(folder / "sides", "sent"), _Files(folder / "sides", "kept")
    for ledger in ledgers:
        sent.write(lines_of_ledger(ledger, outcome))
    for file in await _write_stored(url, folder):
        outcome.stored += kept.write(_lines(file))
        file.unlink()
    found: dict[str, list[bytes]] = {"lost": [], "stored more than once": [], "stored, but never sent or refused": []}
    for ours, theirs in zip(sent.paths, kept.paths, strict=True):
        lines = set(_lines(ours))
        promised = {line[1:] for line in lines if line[:1] == PROMISED}
        possible = promised | {line[1:] for line in lines}
        stored = Counter(_lines(theirs))
        outcome.promised += len(promised)
        found["lost"] += promised - stored.keys()
        found["stored more than once"] += [line for line, times in stored.items() if times > 1]
        found["stored, but never sent or refused"] += stored.keys() - possible
        ours.unlink()
        theirs.unlink()
    outcome.differences = [
        f"{len(lines)} {what}: {[line.decode() for line in sorted(lines)[:EXAMPLES]]}"
        for what, lines in found.items()
        if lines
    ]
    return outcome
