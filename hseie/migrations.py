"""Applies the numbered files of `sql/migrations/`, each in one transaction, and remembers what it applied.

Plain SQL, forward only. A file that was applied may not change any more (its checksum is kept); a database that knows
files this version does not have belongs to a newer HSEIE and is not touched.
"""

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hseie import database
from hseie.database import statement
from hseie.errors import MigrationError
from hseie.resources import resource

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name, its text and the SHA-256 of that in hexadecimal."""

    number: int
    name: str
    text: str
    checksum: str


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """Return the migration files in order. Raises MigrationError for a bad name, a gap or a number used twice."""
    found = []
    for path in sorted((folder or resource("sql") / "migrations").glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"migration {path.name}: the name must be like 0001_what_it_does.sql")
        text = path.read_text(encoding="utf-8")
        found.append(Migration(int(match[1]), path.name, text, hashlib.sha256(text.encode()).hexdigest()))
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationError(f"migration {migration.name}: number {expected:04d} was expected here")
    return found


def pending(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Return what is still to be applied, given number to (name, checksum) of what was.

    Raises MigrationError when an applied file was changed, or the database is ahead of these files.
    """
    known = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise MigrationError(f"the database has migration {name}, which this version lacks: use a newer HSEIE")
        if known[number].checksum != checksum:
            raise MigrationError(f"migration {name} was changed after it was applied; restore the file as it was")
    return [migration for migration in migrations if migration.number not in applied]


async def check(connection: Any, folder: Path | None = None) -> list[Migration]:
    """Return the migrations this database lacks, changing nothing. Raises MigrationError as `pending` does."""
    if await connection.fetchval(statement("migration_table_exists")) is None:
        return read_migrations(folder)
    return pending(read_migrations(folder), await _applied(connection))


async def migrate(connection: Any, folder: Path | None = None) -> list[Migration]:
    """Apply what is pending and return it. Runners wait for each other. Raises MigrationError."""
    await connection.execute(statement("migration_lock"))
    try:
        await connection.execute(statement("migration_table_create"))
        todo = pending(read_migrations(folder), await _applied(connection))
        for migration in todo:
            try:
                async with connection.transaction():
                    await connection.execute(migration.text)
                    await connection.execute(
                        statement("migration_record"), migration.number, migration.name, migration.checksum
                    )
            except database.PostgresError as error:
                raise MigrationError(f"migration {migration.name}: {error}; it was rolled back") from error
        return todo
    finally:
        with contextlib.suppress(*database.DATABASE_ERRORS):  # a lost session has lost its lock
            await connection.execute(statement("migration_unlock"))


async def _applied(connection: Any) -> dict[int, tuple[str, str]]:
    rows = await connection.fetch(statement("migration_applied"))
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}
