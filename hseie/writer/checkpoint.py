"""This process's hold on the checkpoint row of its journal: how far PostgreSQL is, and who may move it.

Each life of a writer takes the next epoch under a token of its own. The tokens are noted in the journal before they are
used, so a life knows those of its predecessors on the same file. A token it does not know means that a copy of the
journal has been flushed: then this one's frames and the copy's share their numbers, and no more may be stored. Where
a copy knows the token, because it was made while its owner lived, the newest flushed frame tells them apart.
"""

import enum
import uuid
from typing import Any, Literal

import orjson

from hseie import clock
from hseie.database import statement
from hseie.errors import FencedError, LostJournalError
from hseie.lost_journals import describe, find_lost, retire
from hseie.writer.flush import Ownership, retired_text
from hseie.writer.journal import Journal

_TOKENS_KEPT = 1000  # of former lives; PostgreSQL may come back from a backup that old


class Outcome(enum.Enum):
    """What became of a flush whose answer was lost."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not_committed"
    CHANGED = "changed"  # PostgreSQL is somewhere else altogether: claim again and go on from there


class Checkpoint:
    """`seq` is the newest frame that is in PostgreSQL, `owner` what a flush moves the row with."""

    def __init__(self, journal: Journal, lost_journal: Literal["refuse", "replace"], log: Any) -> None:
        """`lost_journal`: what a new journal does when PostgreSQL knows others that are not in its folder."""
        self.seq = 0
        self.owner: Ownership | None = None
        self._journal = journal
        self._lost_journal = lost_journal
        self._log = log
        self._token = uuid.uuid4()
        self._known: set[str] = set()

    async def claim(self, connection: Any) -> int:
        """Take the next epoch; return the frame after which flushing goes on. Changes nothing here before it is done.

        Raises FencedError, changing nothing, when the row belongs to another copy of this journal or was retired, and
        LostJournalError when PostgreSQL does not know this one, but others that are not in its folder.
        """
        await self._note_token()
        identity, oldest = self._journal.identity, self._journal.oldest_seq
        async with connection.transaction():
            row = await connection.fetchrow(statement("checkpoint_read"), identity.journal_id)
            if row is not None:
                self._check_copy(row)
                await self._check_frame(row)
            if row is None or row["retired_at"] is not None:
                await self._begin(connection, row)
            facts = (identity.journal_id, identity.shard, identity.shards, identity.first_seq, oldest, self._token)
            claimed = await connection.fetchrow(statement("checkpoint_claim"), *facts)
        if "claimed_at" not in await self._journal.facts():
            await self._journal.note("claimed_at", str(clock.unix_s()))
        # Last, and without waiting for anything before the caller goes on: whoever is cut off in the middle of a claim
        # must claim again, or flushing would go on from where it stood before.
        self.owner = Ownership(identity.journal_id, claimed["epoch"])
        self.seq = claimed["last_seq"]
        if self.seq + 1 < oldest:
            advice = "was PostgreSQL restored from an older backup?"
            self._log.error("frames_missing", after=self.seq, before=oldest, advice=advice)
        return max(self.seq, oldest - 1)

    async def ask(self, connection: Any, flushed_seq: int | None) -> Outcome:
        """Find out, after a lost connection, what became of the flush up to `flushed_seq`. Raises FencedError."""
        assert self.owner is not None
        row = await connection.fetchrow(statement("checkpoint_read"), self.owner.journal_id)
        if row is None:
            return Outcome.CHANGED
        if row["owner"] != self._token:
            self._check_copy(row)
            if row["epoch"] >= self.owner.epoch:
                raise FencedError(f"journal {self.owner.journal_id} was taken over by a later writer on the same file")
            return Outcome.CHANGED
        if flushed_seq is not None and row["last_seq"] == flushed_seq:
            return Outcome.COMMITTED
        if row["last_seq"] == self.seq:
            return Outcome.NOT_COMMITTED
        self._log.error("checkpoint_changed", expected=self.seq, found=row["last_seq"])
        return Outcome.CHANGED

    async def _begin(self, connection: Any, row: Any) -> None:
        """Make sure that a journal which PostgreSQL does not know, or saw drained, has the database for its folder."""
        if row is not None and row["retired_reason"] == "lost":
            raise FencedError(retired_text(self._journal.identity.journal_id, row["retired_at"]))
        await connection.execute(statement("checkpoint_claim_lock"))
        folder = self._journal.folder
        lost = await find_lost(connection, folder)
        if not lost:
            return
        if self._lost_journal == "refuse":
            raise LostJournalError(describe(lost, folder))
        await retire(connection, [journal.journal_id for journal in lost], "lost")
        self._log.error("journal_replaced", journals=[str(journal) for journal in lost], why=describe(lost, folder))

    def _check_copy(self, row: Any) -> None:
        # Before this life has claimed, nothing that came since the opening can be in PostgreSQL; afterwards it can.
        newest = self._journal.opened_last_seq if self.owner is None else self._journal.last_seq
        if row["last_seq"] > newest:
            raise FencedError(
                f"PostgreSQL has frames up to {row['last_seq']} of this journal, which itself ends at {newest}: "
                "it is an older copy; bring back the newest, or move this one away"
            )
        if str(row["owner"]) not in self._known:
            raise FencedError(
                f"another copy of journal {self._journal.identity.journal_id} was flushed into this PostgreSQL since "
                "this one was; keep this file, and see 'Fenced' in the runbook"
            )

    async def _check_frame(self, row: Any) -> None:
        # A copy that took readings of its own while it could not claim is long enough, and may know the owner's token.
        own = await self._journal.crc(row["last_seq"])
        if None not in (own, row["last_crc"]) and own != row["last_crc"]:
            raise FencedError(
                f"frame {row['last_seq']} of journal {self._journal.identity.journal_id} is not the one that this "
                "PostgreSQL has: another copy of it was flushed; keep this file, and see 'Fenced' in the runbook"
            )

    async def _note_token(self) -> None:
        # Before it is used, and with those of earlier lives: a claim whose answer was lost is recognised as ours.
        tokens = orjson.loads((await self._journal.facts()).get("owners", "[]"))
        if str(self._token) not in tokens:
            tokens = [*tokens, str(self._token)][-_TOKENS_KEPT:]
            await self._journal.note("owners", orjson.dumps(tokens).decode())
        self._known = set(tokens)
