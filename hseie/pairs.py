"""Pairings in PostgreSQL: which meter feeds which vehicle when, where the ids do not say it. Set, end, remove, list.

A change is one transaction, one after the other by a lock on the table, at PostgreSQL's own time. It marks the rollups
that it touches, so that they are made anew (`rollup_mark`). What becomes of other rows stands in `hseie.pair_plan`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hseie.config import Config
from hseie.database import statement
from hseie.late_readings import keep_open
from hseie.pair_plan import Change, Difference, Pair, Plan
from hseie.pair_request import InvalidPairError, Wanted
from hseie.pairing import candidates
from hseie.problems import ErrorItem

MARKS_MAX = 2_000_000
"""Hours of vehicles that one change may have made anew, in 20 s; one vehicle over 400 days has 9,600."""

T = TypeVar("T")
MayTouch = Callable[[str], bool]
Span = tuple[datetime, datetime]


def session_settings(config: Config) -> dict[str, str]:
    """Return the settings of a session that changes pairings."""
    return {"lock_timeout": str(config.postgres.lock_timeout_ms), "jit": "off"}


async def set_pair(connection: Any, config: Config, wanted: Wanted, may_touch: MayTouch | None = None) -> Change:
    """Set one pairing. Raises InvalidPairError, PairConflictError, ForeignDeviceError and what the database does.

    A key of some devices may touch those only: `may_touch`.
    """

    meters = [wanted.meter_id] if wanted.meter_id is not None else []
    return await _change(connection, config, [wanted.vehicle_id], meters, lambda plan: plan.set(wanted), may_touch)


async def end_pair(
    connection: Any, config: Config, vehicle_id: str, at: datetime | None = None, may_touch: MayTouch | None = None
) -> Change:
    """End the pairing of a vehicle that runs, at a time, None: now.

    Raises UnknownPairError, PairConflictError, ForeignDeviceError, InvalidPairError and what the database does.
    """

    return await _change(connection, config, [vehicle_id], [], lambda plan: plan.end(vehicle_id, at), may_touch)


async def remove_pair(connection: Any, config: Config, vehicle_id: str, valid_from: datetime) -> Change:
    """Remove a pairing that has not begun. Raises UnknownPairError, PairConflictError and what the database does."""
    return await _change(connection, config, [vehicle_id], [], lambda plan: plan.remove(vehicle_id, valid_from))


async def change_pairs(connection: Any, config: Config, wanted: Collection[Wanted], work: Callable[[Plan], T]) -> T:
    """Do `work` with the rows of all devices of `wanted`, and store what it made of them. Raises what `work` does.

    All or nothing: an error of `work` leaves everything as it was.
    """
    vehicles = {one.vehicle_id for one in wanted}
    meters = {one.meter_id for one in wanted if one.meter_id is not None}
    return await _change(connection, config, list(vehicles), list(meters), work)


async def _change(
    connection: Any,
    config: Config,
    vehicles: Sequence[str],
    meters: Sequence[str],
    work: Callable[[Plan], T],
    may_touch: MayTouch | None = None,
) -> T:
    async with connection.transaction():
        await connection.execute(statement("pair_lock"))
        now = await connection.fetchval(statement("pair_now"))
        rows = await connection.fetch(statement("pair_read"), vehicles, meters)
        plan = Plan((Pair(**row) for row in rows), now, timedelta(days=config.ingest.past_max_days), may_touch)
        outcome = work(plan)
        await _store(connection, config, plan.difference())
        return outcome


async def _store(connection: Any, config: Config, difference: Difference) -> None:
    for name, rows, columns in (
        ("pair_delete", difference.deleted, ("vehicle_id", "valid_from")),
        ("pair_shorten", difference.shortened, ("vehicle_id", "valid_from", "valid_to")),
        ("pair_insert", difference.inserted, ("vehicle_id", "meter_id", "valid_from", "valid_to")),
    ):
        if rows:
            await connection.execute(statement(name), *([getattr(row, column) for row in rows] for column in columns))
    if difference.spans:
        await _mark(connection, config, difference)


async def _mark(connection: Any, config: Config, difference: Difference) -> None:
    """Mark the closed hours that rest on what has changed; the order of these steps is that of a flush.

    No hour is closed until the end of this transaction, and which are is read after that: an hour that is closed later
    is rolled up later, and sees the new rows.
    """
    await keep_open(connection)
    spans: dict[str, list[Span]] = defaultdict(list)
    by_id: dict[str, list[Span]] = defaultdict(list)
    prefixes = config.analytics.meter_prefix, config.analytics.vehicle_prefix
    for row, start, end in difference.spans:
        spans[row.vehicle_id].append((start, end))
        if row.meter_id is not None:
            # A row takes its meter from the vehicle that it feeds by its id, and the end of a row gives it back. The
            # rule about ids is symmetric: the vehicles of a meter are found as the meters of a vehicle are.
            for vehicle_id in candidates(row.meter_id, *prefixes):
                by_id[vehicle_id].append((start, end))
    known = await connection.fetch(statement("pair_known_vehicles"), list(by_id.keys() - spans.keys()))
    for vehicle_id in (*(row["vehicle_id"] for row in known), *(by_id.keys() & spans.keys())):
        spans[vehicle_id] += by_id[vehicle_id]
    merged = [(vehicle_id, *span) for vehicle_id, found in spans.items() for span in _merged(found)]
    # Whether a reading is taken depends on its neighbour (one tolerance away) and on that one's neighbours.
    margin = timedelta(seconds=2 * config.analytics.correlation_window_s)
    done = await connection.execute(
        statement("pair_mark"), *([span[place] for span in merged] for place in range(3)), margin, MARKS_MAX + 1
    )
    if int(done.rsplit(" ", 1)[1]) > MARKS_MAX:
        why = f"more than {MARKS_MAX} hours of rollups would be made anew: begin later, or set fewer pairings at once"
        raise InvalidPairError([ErrorItem("timestamp_out_of_range", why, "/validFrom")])


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same stretches of time without overlaps."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


async def find_pairs(
    connection: Any,
    state: str,
    vehicle_id: str | None,
    meter_id: str | None,
    limit: int | None,
    after: tuple[str, datetime] | None = None,
) -> list[Pair]:
    """Return pairings in a state (`pair_routes.STATES`), of a vehicle and a meter where given, by vehicle and start."""
    rows = await connection.fetch(statement("pair_list"), vehicle_id, meter_id, state, *(after or (None, None)), limit)
    return [Pair(**row) for row in rows]
