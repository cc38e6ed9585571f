"""`hseie journal retire`: gives up journals whose files are gone, and takes that back."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click
import orjson

from hseie import lost_journals
from hseie.commands import with_database
from hseie.config import Config
from hseie.errors import ExitCode, LostJournalError
from hseie.lost_journals import LostJournal

_NAME = "hseie journal retire"


def retire_journals(config: Config, ids: Sequence[UUID], *, yes: bool, as_json: bool) -> ExitCode:
    """Retire the named journals that are not in this node's folder, or all of them, after asking.

    Raises LostJournalError for an id that is none of them, and what `with_database` does.
    """
    folder = config.data_dir / "journal"
    lost = with_database(config, _NAME, lambda connection: lost_journals.find_lost(connection, folder))
    chosen = _choose(lost, ids, folder)
    if chosen and not yes:
        for journal in chosen:
            click.echo(f"{journal}", err=True)
        click.confirm(
            f"Give up what {'these journals hold' if len(chosen) > 1 else 'this journal holds'} and PostgreSQL does "
            "not? A node that still runs on it will be fenced.",
            abort=True,
            err=True,
        )
    wanted = [journal.journal_id for journal in chosen]
    retired = with_database(config, _NAME, lambda connection: lost_journals.retire(connection, wanted, "lost"))
    if as_json:
        click.echo(orjson.dumps({"retired": [str(journal_id) for journal_id in retired]}))
        return ExitCode.OK
    for journal in chosen:
        if journal.journal_id in retired:
            click.echo(f"retired: {journal}")
    if not retired:
        click.echo(f"Nothing to retire: every journal that may still store something is in {folder}.")
    return ExitCode.OK


def _choose(lost: Sequence[LostJournal], ids: Sequence[UUID], folder: Path) -> list[LostJournal]:
    known = {journal.journal_id: journal for journal in lost}
    for journal_id in ids:
        if journal_id not in known:
            raise LostJournalError(
                f"journal {journal_id} is not to be retired: its file is in {folder}, or it is retired already, or "
                "this database does not know it"
            )
    return [known[journal_id] for journal_id in dict.fromkeys(ids)] if ids else list(lost)


def take_back(config: Config, journal_id: UUID, *, as_json: bool) -> ExitCode:
    """Let a journal that was given up for lost be used again. Raises LostJournalError where it was not."""
    done = with_database(config, _NAME, lambda connection: lost_journals.unretire(connection, journal_id))
    if not done:
        raise LostJournalError(f"journal {journal_id} was not given up for lost in this database")
    if as_json:
        click.echo(orjson.dumps({"taken_back": str(journal_id)}))
    else:
        click.echo(
            f"Journal {journal_id} may be used again: stop the node, put the file into {config.data_dir / 'journal'} "
            "in the place of the one of its name, and start."
        )
    return ExitCode.OK
