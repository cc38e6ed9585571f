"""The comparison of journals, books and tables."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hseie.audit import first_day
from hseie.balance import compare, overtaken
from hseie.books import Audit, Book, Checkpoint, DayBook, Journals, Kept, Tables
from hseie.journal_file import Counts, JournalFile, pruned_counts

FIRST = 1_000_000
MONDAY, TUESDAY = date(2026, 2, 9), date(2026, 2, 10)


def counts(readings: int, duplicates: int = 0) -> Counts:
    return Counts(Counter({0: readings}), Counter({0: duplicates}))


def journal(shard: int, pruned: Counts | None, committed: Counts, waiting: Counts) -> JournalFile:
    """A journal whose frames are forgotten up to FIRST + 9, committed up to FIRST + 19 and held up to FIRST + 29."""
    return JournalFile(
        path=Path(f"shard-000{shard}-of-0002.sqlite"),
        journal_id="ab"[shard],
        shard=shard,
        shards=2,
        first_seq=FIRST,
        last_seq=FIRST + 29,
        pruned_seq=FIRST + 9,
        frames=20,
        frame_bytes=2000,
        disk_bytes=4096,
        drained=False,
        owners=("former", "mine"),
        pruned=pruned,
        committed=committed,
        waiting=waiting,
        waiting_frames=10,
        damage=(),
    )


TABLES = Tables(history=15, devices=3, dead_letters=1, current_differs=0, differing_example=None, without_current=0)
KEPT = Kept(
    checkpoints=(Checkpoint("a", 0, 2, FIRST + 19, "mine"), Checkpoint("b", 1, 2, FIRST + 19, "mine")),
    books=(
        Book("a", 0, 2, "meter", received=12, stored=10, duplicates=1, dead_lettered=1, stored_undated=2),
        Book("b", 1, 2, "meter", received=5, stored=5, duplicates=0, dead_lettered=0),
    ),
    day_books=(
        DayBook(None, "meter", MONDAY, 2),
        DayBook("a", "meter", MONDAY, 4),
        DayBook("a", "meter", TUESDAY, 4),
        DayBook("b", "meter", TUESDAY, 5),
    ),
    dead_letters={("a", "meter"): 1},
    history={("meter", MONDAY): 6, ("meter", TUESDAY): 9},
    tables={"meter": TABLES},
)
A = journal(0, counts(4), counts(8, 1), counts(3))
B = journal(1, counts(0), counts(5), counts(4, 4))
JOURNALS = Journals((A, B))


def only_difference(audit: Audit) -> str:
    assert not audit.balanced
    (difference,) = audit.differences
    return difference


def test_books_that_balance() -> None:
    audit = compare(KEPT, JOURNALS)
    assert (audit.balanced, audit.notes) == (True, [])
    meter = audit.kinds["meter"]
    assert (meter.received, meter.stored, meter.duplicates, meter.dead_lettered, meter.in_flight) == (17, 15, 1, 1, 7)
    assert meter.acknowledged == 24
    document = audit.as_dict()
    assert document["balanced"] is True
    assert document["kinds"]["meter"]["tables"]["history"] == 15
    assert document["days"][0] == {
        "kind": "meter", "day": "2026-02-09", "partition": "meter_history_2026_02_09", "stored": 6, "rows": 6,
        "archived": 0,
    }  # fmt: skip
    assert document["journals"][0] == {
        "journal_id": "a", "shard": 0, "shards": 2, "file": "shard-0000-of-0002.sqlite", "last_seq": FIRST + 29,
        "committed_seq": FIRST + 19, "acknowledged": {"meter": 15, "vehicle": 0},
        "in_flight": {"meter": 3, "vehicle": 0},
    }  # fmt: skip


def test_what_has_left_history_is_in_the_books_all_the_same() -> None:
    audit = compare(replace(with_rows(MONDAY, 1), archived={("meter", MONDAY): 5}), JOURNALS)
    assert audit.differences == []
    assert audit.kinds["meter"].archived == 5
    assert (audit.days[0].rows, audit.days[0].archived) == (1, 5)


BOOK_A = KEPT.books[0]
ONE_MORE_BEFORE = (DayBook(None, "meter", MONDAY, 3), *KEPT.day_books[1:])


def with_rows(day: date, rows: int) -> Kept:
    return replace(KEPT, history={**KEPT.history, ("meter", day): rows})


@pytest.mark.parametrize(
    ("kept", "place"),
    [
        (replace(KEPT, archived={("meter", MONDAY): 1}), "2026_02_09 has 6 rows and 1 have left it, .* say 6 "),
        (replace(KEPT, archived={("meter", date(2026, 2, 8)): 1}), "2026_02_08 has 0 rows and 1 .* say 0"),
        (with_rows(MONDAY, 5), "meter_history_2026_02_09 has 5 rows, .* say 6 "),
        (with_rows(date(2026, 2, 8), 1), "2026_02_08 has 1 rows, .* say 0"),
        (replace(KEPT, history={("meter", MONDAY): 6}), "meter_history_2026_02_10 has 0 rows, .* say 9 of 2026-02-10"),
        (replace(KEPT, dead_letters={}), r"dead_letter has 0 rows of kind meter, the books say 1 .*shard 0 of 2"),
        (replace(KEPT, dead_letters={**KEPT.dead_letters, ("b", "meter"): 1}), "dead_letter has 1 .* say 0 .*shard 1"),
        (
            replace(KEPT, tables={"meter": replace(TABLES, current_differs=2, differing_example="M1")}),
            "meter_current differs .* 2 devices, for example M1",
        ),
        (replace(KEPT, tables={"meter": replace(TABLES, without_current=1)}), "meter_current lacks 1 devices"),
        (
            replace(KEPT, books=(replace(BOOK_A, dead_lettered=2), KEPT.books[1]), dead_letters={("a", "meter"): 2}),
            "the book of shard 0 of 2, meter: received 12 is not stored 10 ",
        ),
        (
            replace(with_rows(MONDAY, 7), day_books=ONE_MORE_BEFORE),
            "before the days were counted, the books say, 2 meter rows were stored; meter_history had 3 then",
        ),
    ],
)
def test_each_difference_in_postgresql_is_named_by_its_place(kept: Kept, place: str) -> None:
    assert re.search(place, only_difference(compare(kept, JOURNALS)))


def test_a_book_that_its_days_do_not_add_up_to_is_named_by_its_shard() -> None:
    books = (replace(BOOK_A, stored=9, received=11), KEPT.books[1])
    found = compare(replace(KEPT, books=books), Journals((replace(A, committed=counts(7, 1)), B)))
    assert "the book of shard 0 of 2, meter: stored 9 is not what its days add up to, 10" in only_difference(found)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (replace(B, committed=counts(6)), "shard 1 of 2 .* had 6 meter readings up to its checkpoint, its book says 5"),
        (replace(B, committed=counts(5, 1)), "shard 1 of 2 .* had 1 meter re-sends up to its checkpoint, .* says 0"),
        (replace(B, pruned=counts(3)), "had 8 meter readings"),
        (replace(B, damage=("the frames 3 to 4 are missing",)), "shard 1 of 2 .*: the frames 3 to 4 are missing"),
        (replace(B, last_seq=FIRST + 18), "PostgreSQL has frames up to 1000019 .* ends at 1000018: .* older copy"),
        (replace(B, owners=("former",)), "another copy of it was flushed"),
        (replace(B, pruned_seq=FIRST + 20), "has forgotten frames up to 1000020 .* up to 1000019 only"),
        # Something was committed elsewhere that this PostgreSQL has never seen.
        (replace(B, journal_id="c"), "does not know it: is postgres.url the right one"),
    ],
)
def test_each_difference_of_a_journal_is_named_by_its_shard(file: JournalFile, place: str) -> None:
    assert re.search(place, only_difference(compare(KEPT, Journals((A, file)))))


def test_a_journal_that_cannot_be_compared_is_said_and_is_no_difference() -> None:
    unknown_past = compare(KEPT, Journals((replace(A, pruned=None, committed=counts(1)), B)))
    assert unknown_past.balanced
    assert unknown_past.journals[0].acknowledged is None
    assert "is not comparable with its book: it was pruned before its counts were kept" in unknown_past.notes[0]
    begun = (replace(KEPT.checkpoints[0], begun_after=FIRST + 9), KEPT.checkpoints[1])
    later = compare(replace(KEPT, checkpoints=begun), Journals((replace(A, pruned=counts(400)), B)))
    assert later.balanced
    assert "was given it from frame 1000010 on only" in later.notes[0]
    # From its first frame on is all of it.
    whole = (replace(KEPT.checkpoints[0], begun_after=FIRST - 1), KEPT.checkpoints[1])
    assert not compare(replace(KEPT, checkpoints=whole), Journals((replace(A, pruned=counts(400)), B))).balanced


def test_what_is_in_flight_is_unknown_where_a_journal_was_not_read() -> None:
    missing = compare(KEPT, Journals((A,), missing=("the journal of shard 1 of 2 is not in journal",)))
    assert (missing.balanced, missing.kinds["meter"].in_flight, missing.kinds["meter"].acknowledged) == (
        True,
        None,
        None,
    )
    assert missing.notes == [
        "the journal of shard 1 of 2 is not in journal; what is in flight is unknown",
        "PostgreSQL knows 1 journals that have no file here (of shards 1 of 2)",
    ]
    assert (missing.journals[1].file, missing.journals[1].committed_seq) == (None, FIRST + 19)
    damaged = compare(KEPT, Journals((A,), unreadable=("shard-0001 cannot be read",)))
    assert (damaged.kinds["meter"].in_flight, damaged.differences) == (None, ["shard-0001 cannot be read"])


def test_a_journal_that_postgresql_does_not_know_yet_is_in_flight() -> None:
    fresh = replace(B, journal_id="c", pruned_seq=FIRST - 1, pruned=counts(0), committed=counts(0), waiting=counts(9))
    audit = compare(KEPT, Journals((A, fresh)))
    assert (audit.balanced, audit.kinds["meter"].in_flight) == (True, 12)
    assert "not known to PostgreSQL yet" in audit.notes[0]


def test_a_journal_that_was_pruned_past_the_snapshot_is_to_be_read_again() -> None:
    assert overtaken(KEPT.checkpoints, JOURNALS) == []
    ahead = replace(B, pruned_seq=FIRST + 20)
    assert overtaken(KEPT.checkpoints, Journals((A, ahead))) == [ahead]
    assert overtaken(KEPT.checkpoints, Journals((replace(ahead, journal_id="c"),))) == []


def test_days_before_the_first_that_was_read_are_left_out() -> None:
    audit = compare(replace(KEPT, history={("meter", TUESDAY): 9}, from_day=TUESDAY), JOURNALS)
    assert audit.balanced
    assert [day.day for day in audit.days] == ["2026-02-10"]
    assert audit.from_day == "2026-02-10"


def test_the_last_days_end_today_in_utc() -> None:
    now = datetime(2026, 2, 10, 0, 5, tzinfo=UTC)
    assert (first_day(1, now), first_day(2, now), first_day(None, now)) == (TUESDAY, MONDAY, None)


def test_what_a_journal_has_forgotten_is_kept_as_text() -> None:
    some = Counts()
    some.add_frames('{"0":3,"1":2}', None)
    some.add_frames('{"1":4}', b"\x81\x01\x92\x00\x03")  # msgpack: {1: [0, 3]}
    assert (some.readings, some.duplicates) == ({0: 3, 1: 6}, {1: 2})
    assert some.encode() == '{"0":[3,0],"1":[6,2]}'
    again = pruned_counts({"pruned_seq": "7", "pruned_counts": some.encode()})
    assert again is not None
    assert again.plus(some).readings == {0: 6, 1: 12}
    assert pruned_counts({}) == Counts()
    assert pruned_counts({"pruned_seq": "7"}) is None
