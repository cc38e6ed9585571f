"""`hseie journal`: the journals of a node, for an operator.

A module of its own beside `cli`, which imports it when the command is asked for.
"""

from pathlib import Path
from uuid import UUID

import click

from hseie.cli import configuration, json_option, node_options
from hseie.journal_command import show_journals
from hseie.journal_retire import retire_journals, take_back


@click.group()
def journal() -> None:
    """Look after the journals, which hold what was acknowledged."""


@journal.command("status")
@node_options
@json_option
@click.option("--check", "check_frames", is_flag=True, help="Read every frame and compare its checksum.")
def journal_status(file: Path | None, data: str | None, as_json: bool, check_frames: bool) -> int:
    """Show each journal of the data folder: what it holds, how far PostgreSQL has it, and what is wrong.

    Works with the node running or not. Exit code 0 when all is well, 1 when something is wrong.
    """
    return int(show_journals(configuration(file, data), as_json=as_json, check_frames=check_frames))


@journal.command("retire")
@node_options
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--undo", type=click.UUID, metavar="ID", help="Let a journal that was retired be used again.")
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]...")
def journal_retire(
    file: Path | None, data: str | None, as_json: bool, yes: bool, undo: UUID | None, ids: tuple[UUID, ...]
) -> int:
    """Give up journals that this database knows and this node's folder does not hold; all of them, or those named.

    For a folder that is lost for good. What such a journal holds and PostgreSQL does not is lost with it, and a node
    that still runs on it is fenced. Afterwards this node starts with new journals.
    """
    config = configuration(file, data)
    if undo is not None:
        if ids:
            raise click.UsageError("--undo takes one journal back and retires none")
        return int(take_back(config, undo, as_json=as_json))
    return int(retire_journals(config, ids, yes=yes, as_json=as_json))
