"""Takes an old day out of history, in one short transaction that first makes sure that nothing is lost by it.

Writers are kept out of the day's partition while its rows are counted; those of other days go on. What a flush has
stored there is committed then, and in the day books too, because both are one transaction. Only for the drop itself is
all of history locked, for a moment, and given up soon if somebody reads for long: others would wait behind us.
"""

from typing import Any

from hseie import failpoints
from hseie.archive_export import bounds
from hseie.database import statement
from hseie.maintenance.archive_plan import OldDay
from hseie.readings import Kind

LOCK_TIMEOUT_MS = 500


async def rolled_up(connection: Any, old: OldDay) -> bool:
    """Return whether the rollups of a day are made, and none of them has to be made anew."""
    return bool(await connection.fetchval(statement("archive_rolled"), *bounds(old.day)))


async def drop_written(connection: Any, kind: Kind, old: OldDay) -> bool:
    """Drop a day whose rows are all in files, which have been found to be as they were written.

    False where nothing is dropped: because rollups are to be made anew, or because history has other rows than the
    files. Then these are forgotten, and the day is written anew. Raises what PostgreSQL raises.
    """
    readings = sum(part.readings for part, _ in old.written)
    async with connection.transaction():
        content = await _hold(connection, kind, old)
        if (content["readings"], content["booked"]) != (readings, old.booked):
            await connection.execute(statement("archive_forget"), old.kind, old.day)
            return False
        if not await rolled_up(connection, old):
            return False
        await connection.execute(statement("archive_dropped"), old.kind, old.day)
        await connection.execute(statement("archive_drop"), old.kind, old.day)
        failpoints.reach("archive.before_drop")
    failpoints.reach("archive.after_drop")
    return True


async def drop_empty(connection: Any, kind: Kind, old: OldDay) -> bool:
    """Drop a day of which history has nothing; False where it has something. Raises what PostgreSQL raises."""
    if await connection.fetchval(statement("archive_any", kind), *bounds(old.day)):
        return False
    async with connection.transaction():
        content = await _hold(connection, kind, old)
        if content["readings"]:
            return False
        await connection.execute(statement("archive_drop"), old.kind, old.day)
    return True


async def give_up(connection: Any, kind: Kind, old: OldDay) -> bool:
    """Delete a day's readings for good, those apart that a file has; False where its rollups are not complete.

    The last of each device is kept: a register's next reading is compared with it.

    Raises what PostgreSQL raises.
    """
    async with connection.transaction():
        content = await _hold(connection, kind, old)
        if not await rolled_up(connection, old):
            return False
        lost = content["readings"] - sum(part.readings for part, _ in old.written)
        await connection.execute(statement("given_up_keep", kind), *bounds(old.day))
        await connection.execute(statement("archive_dropped"), old.kind, old.day)
        if lost:
            await connection.execute(statement("archive_given_up"), old.kind, old.day, lost, content["booked"])
        await connection.execute(statement("archive_drop"), old.kind, old.day)
        failpoints.reach("archive.before_drop")
    failpoints.reach("archive.after_drop")
    return True


async def _hold(connection: Any, kind: Kind, old: OldDay) -> Any:
    """Keep writers out of a day, and count it."""
    await connection.execute(statement("archive_lock_timeout"), str(LOCK_TIMEOUT_MS))
    await connection.execute(statement("archive_hold"), old.kind, old.day)
    return await connection.fetchrow(statement("archive_in_history", kind), old.day, *bounds(old.day))
