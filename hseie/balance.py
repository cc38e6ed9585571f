"""Lays journals, checkpoints, books and tables beside each other, and names every difference by its place. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from hseie.books import Audit, Book, Checkpoint, DayAudit, JournalAudit, Journals, Kept, KindAudit, Tables
from hseie.journal_file import Counts, JournalFile
from hseie.readings import KIND_BY_NAME, KINDS


def compare(kept: Kept, journals: Journals) -> Audit:
    """Compare what PostgreSQL and the data folder say. The journals must have been read after PostgreSQL."""
    days = _days(kept)
    audit = Audit(
        kinds={name: _kind_audit(name, kept, journals) for name in kept.tables},
        books=list(kept.books),
        days=days,
        journals=list(_journal_audits(kept, journals)),
        from_day=kept.from_day.isoformat() if kept.from_day else None,
    )
    audit.notes.extend(_notes(kept, journals))
    audit.differences.extend(journals.unreadable)
    audit.differences.extend(_journal_differences(kept, journals))
    audit.differences.extend(_book_differences(kept))
    audit.differences.extend(_dead_letter_differences(kept))
    audit.differences.extend(_day_differences(days))
    for name, tables in kept.tables.items():
        audit.differences.extend(_current_differences(name, tables))
    return audit


def overtaken(checkpoints: Iterable[Checkpoint], journals: Journals) -> list[JournalFile]:
    """Return the journals that have forgotten frames which PostgreSQL, as it was read, does not have yet.

    Of a running node that means that a flush and a pruning came between the two readings: read again. Where it stays
    so, PostgreSQL has gone back in time.
    """
    committed = {checkpoint.journal_id: checkpoint.last_seq for checkpoint in checkpoints}
    return [file for file in journals.files if file.pruned_seq > committed.get(file.journal_id, file.pruned_seq)]


def in_words(file: JournalFile, checkpoint: Checkpoint | None) -> list[str]:
    """Return what is wrong with a journal, beside its checkpoint or, where PostgreSQL does not know it, without."""
    found = list(file.damage)
    if checkpoint is None:
        if file.pruned_seq >= file.first_seq:
            found.append(
                f"it has forgotten frames up to {file.pruned_seq} as committed, and this PostgreSQL does not know it: "
                "is postgres.url the right one?"
            )
    elif checkpoint.last_seq > file.last_seq:
        found.append(
            f"PostgreSQL has frames up to {checkpoint.last_seq} of it, and it ends at {file.last_seq}: it is an older "
            "copy; bring back the newest"
        )
    elif checkpoint.owner not in file.owners:
        found.append("another copy of it was flushed into this PostgreSQL; see 'Fenced' in the runbook")
    elif file.pruned_seq > checkpoint.last_seq:
        found.append(
            f"it has forgotten frames up to {file.pruned_seq} as committed, and PostgreSQL has it up to "
            f"{checkpoint.last_seq} only: was it restored from an older backup?"
        )
    return found


def not_comparable(file: JournalFile, checkpoint: Checkpoint) -> str | None:
    """Return why a journal's counts and its books do not begin at the same frame; None where they do."""
    if file.pruned is None:
        return "it was pruned before its counts were kept"
    if checkpoint.begun_after is not None and checkpoint.begun_after >= file.first_seq:
        return f"this PostgreSQL was given it from frame {checkpoint.begun_after + 1} on only"
    return None


def _by_name(counts: Mapping[int, int]) -> dict[str, int]:
    return {kind.name: counts.get(kind.number, 0) for kind in KINDS}


# --- journals ---------------------------------------------------------------------------------------------------------


def _journal_audits(kept: Kept, journals: Journals) -> Iterator[JournalAudit]:
    committed = {checkpoint.journal_id: checkpoint for checkpoint in kept.checkpoints}
    for file in journals.files:
        checkpoint = committed.pop(file.journal_id, None)
        acknowledged = None if file.pruned is None else file.pruned.plus(file.committed).plus(file.waiting)
        yield JournalAudit(
            journal_id=file.journal_id,
            shard=file.shard,
            shards=file.shards,
            file=file.path.name,
            last_seq=file.last_seq,
            committed_seq=checkpoint.last_seq if checkpoint else None,
            acknowledged=None if acknowledged is None else _by_name(acknowledged.readings),
            in_flight=_by_name(file.waiting.readings),
        )
    for journal_id, checkpoint in committed.items():
        yield JournalAudit(journal_id, checkpoint.shard, checkpoint.shards, None, None, checkpoint.last_seq, None, None)


def _journal_differences(kept: Kept, journals: Journals) -> Iterator[str]:
    committed = {checkpoint.journal_id: checkpoint for checkpoint in kept.checkpoints}
    books = {(book.journal_id, book.kind): book for book in kept.books}
    for file in journals.files:
        name = f"the journal of shard {file.shard} of {file.shards} ({file.path.name})"
        checkpoint = committed.get(file.journal_id)
        wrong = in_words(file, checkpoint)
        yield from (f"{name}: {words}" for words in wrong)
        if checkpoint is None or file.pruned is None or len(wrong) > len(file.damage):
            continue  # what it counts says nothing then, or no more than this
        if not_comparable(file, checkpoint) is None:
            held = file.pruned.plus(file.committed)
            for kind in KINDS:
                yield from _counted_otherwise(name, kind.name, held, books.get((file.journal_id, kind.name)))


def _counted_otherwise(name: str, kind: str, held: Counts, book: Book | None) -> Iterator[str]:
    number = KIND_BY_NAME[kind].number
    readings, duplicates = held.readings[number], held.duplicates[number]
    received, known = (book.received, book.duplicates) if book else (0, 0)
    if readings != received:
        yield f"{name} had {readings} {kind} readings up to its checkpoint, its book says {received} were received"
    if duplicates != known:
        yield f"{name} had {duplicates} {kind} re-sends up to its checkpoint, its book says {known} duplicates"


# --- books and tables -------------------------------------------------------------------------------------------------


def _kind_audit(name: str, kept: Kept, journals: Journals) -> KindAudit:
    own = [book for book in kept.books if book.kind == name]
    received = sum(book.received for book in own)
    number = KIND_BY_NAME[name].number
    waiting = sum(file.waiting.readings[number] for file in journals.files) if journals.complete else None
    return KindAudit(
        acknowledged=None if waiting is None else received + waiting,
        received=received,
        stored=sum(book.stored for book in own),
        duplicates=sum(book.duplicates for book in own),
        dead_lettered=sum(book.dead_lettered for book in own),
        dropped=sum(book.dropped for book in own),
        in_flight=waiting,
        tables=kept.tables[name],
        archived=sum(count for (kind, _), count in kept.archived.items() if kind == name),
    )


def _book_differences(kept: Kept) -> Iterator[str]:
    dated: Counter[tuple[str | None, str]] = Counter()
    for day in kept.day_books:
        dated[day.journal_id, day.kind] += day.stored
    for book in kept.books:
        name = f"the book of shard {book.shard} of {book.shards}, {book.kind}"
        if book.received != book.stored + book.duplicates + book.dead_lettered:
            yield (
                f"{name}: received {book.received} is not stored {book.stored} + duplicates {book.duplicates} + "
                f"dead-lettered {book.dead_lettered} (journal {book.journal_id})"
            )
        of_days = dated[book.journal_id, book.kind] + book.stored_undated
        if book.stored != of_days:
            yield f"{name}: stored {book.stored} is not what its days add up to, {of_days} (journal {book.journal_id})"
    for name in kept.tables:
        undated = sum(book.stored_undated for book in kept.books if book.kind == name)
        if undated != dated[None, name]:
            yield (
                f"before the days were counted, the books say, {undated} {name} rows were stored; "
                f"{name}_history had {dated[None, name]} then"
            )


def _dead_letter_differences(kept: Kept) -> Iterator[str]:
    books = {(book.journal_id, book.kind): book for book in kept.books}
    shards = {point.journal_id: f"shard {point.shard} of {point.shards}, " for point in kept.checkpoints}
    for place in sorted(books.keys() | kept.dead_letters.keys()):
        journal_id, kind = place
        found, book = kept.dead_letters.get(place, 0), books.get(place)
        if found != (book.parked if book else 0):
            said = f"{book.dead_lettered if book else 0} were parked"
            if book and book.dropped:
                said += f" and {book.dropped} of them dropped"
            yield (
                f"dead_letter has {found} rows of kind {kind}, the books say {said} "
                f"({shards.get(journal_id, '')}journal {journal_id})"
            )


def _days(kept: Kept) -> list[DayAudit]:
    stored: Counter[tuple[str, date]] = Counter()
    for day_book in kept.day_books:
        if kept.from_day is None or day_book.day >= kept.from_day:
            stored[day_book.kind, day_book.day] += day_book.stored
    return [
        DayAudit(
            kind=kind,
            day=day.isoformat(),
            partition=f"{kind}_history_{day:%Y_%m_%d}",
            stored=stored[kind, day],
            rows=kept.history.get((kind, day), 0),
            archived=kept.archived.get((kind, day), 0),
        )
        for kind, day in sorted(stored.keys() | kept.history.keys() | kept.archived.keys())
    ]


def _day_differences(days: list[DayAudit]) -> Iterator[str]:
    for day in days:
        if day.stored != day.rows + day.archived:
            gone = f" and {day.archived} have left it" if day.archived else ""
            yield f"{day.partition} has {day.rows} rows{gone}, the books say {day.stored} of {day.day} were stored"


def _current_differences(kind: str, tables: Tables) -> Iterator[str]:
    if tables.current_differs:
        yield (
            f"{kind}_current differs from the newest reading for {tables.current_differs} devices, "
            f"for example {tables.differing_example}"
        )
    if tables.without_current:
        yield f"{kind}_current lacks {tables.without_current} devices that have readings"


# --- what is no difference --------------------------------------------------------------------------------------------


def _notes(kept: Kept, journals: Journals) -> Iterator[str]:
    committed = {checkpoint.journal_id: checkpoint for checkpoint in kept.checkpoints}
    if kept.from_day is not None:
        yield f"history and current states were read from {kept.from_day} on; `--days` or `days=all` reads more"
    for words in journals.missing:
        yield f"{words}; what is in flight is unknown"
    for file in journals.files:
        checkpoint = committed.pop(file.journal_id, None)
        name = f"the journal of shard {file.shard} of {file.shards} ({file.path.name})"
        if checkpoint is None:
            yield f"{name} is not known to PostgreSQL yet: nothing of it was flushed"
        elif why := not_comparable(file, checkpoint):
            yield f"{name} is not comparable with its book: {why}"
    if committed:
        shards = ", ".join(f"{checkpoint.shard} of {checkpoint.shards}" for checkpoint in committed.values())
        yield f"PostgreSQL knows {len(committed)} journals that have no file here (of shards {shards})"
