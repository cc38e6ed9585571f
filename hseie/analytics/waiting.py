"""What waits to be made anew of the fleet's rollups, so that an answer made from them can say so."""

from collections.abc import Sequence
from dataclasses import dataclass

from hseie.analytics.kept import Kept
from hseie.analytics.reader import Reader
from hseie.analytics.rolled import Hours, Rolled
from hseie.config import Config
from hseie.database import Record

# Vehicles fed by another meter of which is looked whether they have anything in the range; of more, all count.
LOOKED_AT_MAX = 1000


@dataclass(frozen=True)
class _Repaired:
    """How many vehicles there are, and those that another meter feeds by their ids than rollups were made with: their
    number, and some of them with the meter, '' for none."""

    vehicles: int
    found: int = 0
    some: Sequence[Record] = ()


class Waiting:
    """Counts what waits: marks, exactly; and vehicles that another meter feeds by their ids now, as of seconds ago.

    A meter or a vehicle whose first readings are on time leaves no mark: they change no hour that is closed. But they
    may change by which meter a vehicle was fed in all the past, and rollups follow that with the next closing.
    """

    def __init__(self, reader: Reader, config: Config) -> None:
        self._reader = reader
        self._prefixes = config.analytics.vehicle_prefix, config.analytics.meter_prefix
        self._repaired = Kept(self._read_repaired, costly=True)
        self._settled: tuple[int, ...] | None = None

    async def of(self, known: Rolled, hours: Hours) -> int:
        """Return how many marks wait that may change what rollups say of `hours`, and how many vehicles whose rollups
        there are to be made anew; all of them, where that is so for other settings.

        Raises DatabaseUnavailableError and TooManyQueriesError.
        """
        row = await self._reader.row("rollup_pending", hours.start, hours.end)
        marks = int(row["pending"]) if row is not None else 0
        repaired = await self._repaired.value()
        if not known.made_as_now:
            return marks + repaired.vehicles
        if not repaired.found or repaired.found > LOOKED_AT_MAX:
            return marks + repaired.found
        names, meters = zip(*((row["vehicle_id"], row["meter_id"]) for row in repaired.some), strict=True)
        row = await self._reader.row("rollup_fed_otherwise", names, meters, hours.start, hours.end)
        return marks + (row["vehicles"] if row is not None else 0)

    async def _read_repaired(self) -> _Repaired:
        row = await self._reader.row("pairing_counts")
        counts = tuple(row.values()) if row is not None else (0,)
        # Devices are not forgotten. While there are no others, and as many pairings, nothing differs as nothing did.
        if counts == self._settled:
            return _Repaired(counts[0])
        some = await self._reader.rows("pairing_otherwise", *self._prefixes, LOOKED_AT_MAX)
        self._settled = None if some else counts
        return _Repaired(counts[0], some[0]["found"] if some else 0, some)
