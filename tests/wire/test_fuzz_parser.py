"""The parser, fed with whatever hypothesis makes up; and what it took, given to PostgreSQL."""

import asyncio
import io
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.explain import explain
from hseie.acceptor.parse import Parsed, ReadingParser
from hseie.database import with_connection
from hseie.frames import FRAME, parse_frame, shard_of
from hseie.problems import ERRORS_MAX, PROBLEMS
from hseie.readings import KINDS, Kind
from tests.wire.generated import NEWEST, OLDEST, Body, Generator, bodies, fuzz, inputs_of
from tests.wire.lines import items_of, kind_of, line_of, stored_sql

SHARDS = 3
BATCH_READINGS_MAX = 5
COPIED_MAX = 50_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Taken:
    """The lines that the parser made of readings, beside what they have to become in the tables."""

    def __init__(self) -> None:
        self.rows: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
        self.lines: list[str] = []
        self.accepted = 0
        self.rejected = 0
        self.refused: Counter[str] = Counter()

    def keep(self, kind: Kind, row: str, line: str) -> None:
        if len(self.lines) < COPIED_MAX:
            self.rows[kind].append(row)
            self.lines.append(line)


def check(taken: Taken, body: bytes, kind: Kind | None, lines: bool) -> None:
    """Everything that has to hold for a body."""
    parser = ReadingParser(SHARDS, BATCH_READINGS_MAX, int(NEWEST.total_seconds()), OLDEST.days)
    try:
        parsed = parser.parse(body, kind, NOW.timestamp(), lines=lines)
    except RejectedBodyError as error:
        assert PROBLEMS[error.code].status in (400, 413)
        taken.refused[error.code] += 1
        return
    items = items_of(body, ndjson=lines)
    assert len(items) <= BATCH_READINGS_MAX or not parsed.is_batch
    assert parsed.accepted + parsed.rejected == len(items)
    assert parsed.rejected == len(parsed.rejected_indexes) == len(set(parsed.rejected_indexes))
    check_errors(parsed)
    bounds = parser._time_bounds(NOW.timestamp())
    rows: dict[int, dict[int, list[tuple[Kind, str]]]] = {}
    for index, item in enumerate(items):
        its_kind = kind or kind_of(item)
        accepted = index not in parsed.rejected_indexes
        if its_kind is None or isinstance(item, Exception):
            assert not accepted
            continue
        # The slow path and the fast one agree on every item.
        assert (explain(item, its_kind, *bounds) == []) == accepted
        if accepted:
            line = line_of(its_kind, item)
            rows.setdefault(its_kind.number, {}).setdefault(shard_of(item[its_kind.id_wire], SHARDS), []).append(
                (its_kind, line)
            )
    check_rows(parsed, rows, taken)
    taken.accepted += parsed.accepted
    taken.rejected += parsed.rejected


def check_errors(parsed: Parsed) -> None:
    """Every rejected item is named, as far as there is room; nothing else is."""
    named = {error.index for error in parsed.errors}
    if len(parsed.errors) < ERRORS_MAX:
        assert named == (set(parsed.rejected_indexes) if parsed.is_batch else {None} if parsed.rejected else set())
    assert len(parsed.errors) <= ERRORS_MAX
    assert all(error.code and error.detail for error in parsed.errors)


def check_rows(parsed: Parsed, expected: dict[int, dict[int, list[tuple[Kind, str]]]], taken: Taken) -> None:
    """Each shard got the lines of its devices, in their order, in a form that every writer takes."""
    assert {kind: set(shards) for kind, shards in parsed.rows.items()} == {
        kind: set(shards) for kind, shards in expected.items()
    }
    for number, shards in parsed.rows.items():
        for shard, rows in shards.items():
            parse_frame([FRAME, 1, 1, False, [(number, len(rows), "".join(rows).encode())]])
            for row, (kind, line) in zip(rows, expected[number][shard], strict=True):
                assert row.split("\t")[0] == line.split(" ")[1]
                taken.keep(kind, row, line)


@pytest.mark.timeout(3600)
def test_no_body_is_half_taken_and_postgresql_takes_what_the_parser_took(
    seed: int, new_database: Callable[[], str]
) -> None:
    taken = Taken()

    def any_body(body: Body) -> None:
        check(taken, body.content, body.kind, body.lines)

    # One of each way to be refused whole, which 1,500 made-up bodies need not all meet.
    for body in (b"{", b"5", b"[]", b"[" + b",".join([b"{}"] * (BATCH_READINGS_MAX + 1)) + b"]"):
        any_body(Body(body, KINDS[0], lines=False))
    fuzz(any_body, inputs_of(0.65, 1500), seed, body=bodies(Generator(NOW)))
    print(f"readings: {taken.accepted} taken, {taken.rejected} refused; bodies refused whole: {dict(taken.refused)}")
    assert taken.accepted > 100
    assert taken.rejected > 100
    assert {"bad_json", "not_an_object", "empty_batch", "batch_too_large"} <= set(taken.refused)
    assert asyncio.run(
        with_connection(new_database(), "fuzzing", lambda connection: copy(connection, taken))
    ) == Counter(taken.lines)


async def copy(connection: Any, taken: Taken) -> Counter[str]:
    """Give the rows to the history tables, all of them; what the tables have then."""
    found: Counter[str] = Counter()
    for kind, rows in taken.rows.items():
        days = sorted({row.split("\t")[1][:10] for row in rows})
        for day in days:
            await connection.fetchval("SELECT hseie_make_partition($1, $2)", kind.name, date.fromisoformat(day))
        text = io.BytesIO("".join(rows).encode())
        await connection.copy_to_table(f"{kind.name}_history", source=text, columns=kind.columns, format="text")
        found.update(row[0] for row in await connection.fetch(stored_sql(kind)))
    print(f"PostgreSQL took {found.total()} of {len(taken.lines)} rows")
    return found
