"""The JSON answers of the GET routes, each declared once: analytics fills them in, OpenAPI describes them.

Members that a later version adds are additions; none of these changes its meaning.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

# "<shard>-<sequence>", written in one way only. 18 digits stay inside a bigint.
JOB_ID_PATTERN = "(0|[1-9][0-9]{0,3})-([1-9][0-9]{0,17})"

Time = Annotated[str, msgspec.Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]
Kwh = Annotated[float, msgspec.Meta(description="energy in kWh")]
Percent = Annotated[float, msgspec.Meta(description="percent")]
Celsius = Annotated[float, msgspec.Meta(description="°C")]


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime as UTC text with milliseconds, or with microseconds where it has them."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds" if utc.microsecond % 1000 else "milliseconds") + "Z"


class _Answer(msgspec.Struct, rename="camel", kw_only=True):
    """Base: camelCase on the wire."""


class QueueCounts(_Answer):
    """Readings of one kind by where they are."""

    waiting: Annotated[int, msgspec.Meta(description="in the journal, not yet committed")]
    active: Annotated[int, msgspec.Meta(description="in the flush that runs")]
    completed: Annotated[int, msgspec.Meta(description="committed: stored, or recognised as duplicates")]
    failed: Annotated[int, msgspec.Meta(description="refused by PostgreSQL and parked as dead letters")]


class Job(_Answer):
    """What became of an acknowledged request's readings."""

    job_id: Annotated[str, msgspec.Meta(pattern=f"^{JOB_ID_PATTERN}$")]
    state: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["queued", "stored"]})]


class MeterSegment(_Answer):
    """Which meter fed the vehicle, and when inside the window; null where none is known."""

    meter_id: str | None
    from_: Time = msgspec.field(name="from")
    to: Time


class Coverage(_Answer):
    """How much of the window the sums stand for. What is not correlated is in no total."""

    meter_readings: Annotated[int, msgspec.Meta(description="effective readings of the meter in the window")]
    vehicle_readings: Annotated[int, msgspec.Meta(description="effective readings of the vehicle in the window")]
    correlated: Annotated[int, msgspec.Meta(description="pairs of a vehicle's and a meter's reading")]
    uncorrelated_ac: Kwh
    uncorrelated_dc: Kwh
    share: Annotated[
        float | None,
        msgspec.Meta(description="correlated pairs to the readings of the side that has more; null without readings"),
    ]


class Performance(_Answer):
    """Energy and efficiency of one vehicle and the meter that feeds it."""

    vehicle_id: str
    period: Annotated[str, msgspec.Meta(description="the window asked for, like 24h, or an ISO 8601 interval")]
    total_energy_consumed_ac: Kwh
    total_energy_delivered_dc: Kwh
    efficiency_ratio: Annotated[
        float | None,
        msgspec.Meta(description="DC to AC in percent, never cut at 100; null where AC is 0"),
    ]
    avg_battery_temp: Annotated[
        float | None, msgspec.Meta(description="°C, over all effective readings of the vehicle in the window")
    ]
    from_: Time = msgspec.field(name="from")
    to: Time
    meter_id: Annotated[str | None, msgspec.Meta(description="the meter that feeds the vehicle at the window's end")]
    meters: list[MeterSegment]
    coverage: Coverage
    flags: Annotated[
        list[str],
        msgspec.Meta(
            description="no_meter, no_correlated_readings, above_100_percent, below_threshold; and register_jump, "
            "register_reset, register_rollover, register_replaced for what happened to a running total in the window"
        ),
    ]


class FleetEnergy(_Answer):
    """The fleet's correlated energy in `energyPeriod`."""

    from_: Time = msgspec.field(name="from")
    to: Time
    coverage: Coverage
    computed_at: Time
    pending: Annotated[
        int,
        msgspec.Meta(
            description="what waits to change the rollups behind this: late readings' marks, and vehicles that another "
            "meter feeds by their ids than these were made with; 0 where it is raw"
        ),
    ] = 0
    notes: Annotated[list[str], msgspec.Meta(description="what a reader should know of these figures, for people")] = (
        msgspec.field(default_factory=list)
    )


class Fleet(_Answer):
    """The whole fleet. The energies are those of `energyPeriod`; null where they took too long to add up, or where no
    hour is closed that they could come from."""

    total_vehicles: int
    total_meters: int
    total_readings: Annotated[int, msgspec.Meta(description="rows in history")]
    avg_soc: Percent | None
    avg_battery_temp: Celsius | None
    oldest_reading: Time | None
    latest_reading: Time | None
    energy_period: str
    total_energy_consumed_ac: Kwh | None
    total_energy_delivered_dc: Kwh | None
    efficiency_ratio: Percent | None
    energy: FleetEnergy | None
    alerts: Annotated[
        int | None,
        msgspec.Meta(
            description="pairs of `/v1/analytics/alerts`; null: not judged, by settings of now, or not in time"
        ),
    ]
    silent_devices: Annotated[
        int | None, msgspec.Meta(description="those of `/v1/analytics/alerts`; null: not told in time")
    ]
    ingest_rate: Annotated[
        float | None, msgspec.Meta(description="readings committed a second, lately; null right after the start")
    ]
    computed_at: Time


class Health(_Answer):
    """Always answered with 200 while the process serves."""

    status: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["ok", "degraded"]})]
    timestamp: Time
    service: str
    version: str


class Check(_Answer):
    """One thing that has to be well for the node to be ready."""

    name: str
    ok: bool
    detail: str
    degraded: Annotated[bool, msgspec.Meta(description="it works, worse than it should")] = False


class Readiness(_Answer):
    """`checks` is empty, or with `?verbose` lists all. Where one fails, the answer is the problem `not_ready`."""

    status: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["ready"]})]
    checks: list[Check]


class Rates(_Answer):
    """Readings a second over the ten seconds before `at`."""

    at: Annotated[float, msgspec.Meta(description="Unix time in seconds")]
    received: Annotated[float, msgspec.Meta(description="in requests that could be parsed")]
    committed: Annotated[float, msgspec.Meta(description="stored in PostgreSQL")]
    rejected: Annotated[float, msgspec.Meta(description="refused for what they hold")]


class Past(_Answer):
    """The first event of `/v1/live`, `past`: what the events before would have said of the rates."""

    rates: list[Rates]


class Now(_Answer):
    """Every other event of `/v1/live`, `now`. Null is what is not known at the moment."""

    state: Annotated[str | None, msgspec.Meta(description="of the node; null where its supervisor does not answer")]
    version: str
    checks: Annotated[list[Check], msgspec.Meta(description="what `/readyz?verbose` lists")]
    rates: Rates | None
    waiting: Annotated[int | None, msgspec.Meta(description="readings in journals, not yet committed")]
    active: Annotated[int | None, msgspec.Meta(description="readings in the flushes that run")]
    missing_shards: Annotated[list[int], msgspec.Meta(description="shards whose readings are not in these two")]
    rejected: Annotated[int | None, msgspec.Meta(description="readings refused since the acceptors started")]
    problems: Annotated[dict[str, int], msgspec.Meta(description="requests refused since then, by code")]
    dead_lettered: Annotated[int | None, msgspec.Meta(description="readings that PostgreSQL refused")]
    fleet: Annotated[Fleet | None, msgspec.Meta(description="the latest known; null where PostgreSQL never answered")]
    fleet_is_old: Annotated[bool, msgspec.Meta(description="PostgreSQL did not answer the latest question")]


class AuditTables(_Answer):
    """What the tables hold of a kind; rows and devices are those of the days of history that were read."""

    history: Annotated[int, msgspec.Meta(description="rows in history")]
    devices: int
    dead_letters: int
    current_differs: Annotated[int, msgspec.Meta(description="devices whose current state is not their newest reading")]
    differing_example: str | None
    without_current: Annotated[int, msgspec.Meta(description="devices with readings and without a current state")]


class AuditKind(_Answer):
    """The sums of one kind, in readings: acknowledged = stored + duplicates + deadLettered + inFlight.

    `dropped` counts, of the dead-lettered ones, those that an operator gave up.
    """

    acknowledged: Annotated[int | None, msgspec.Meta(description="received and in flight; null where that is unknown")]
    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int
    in_flight: Annotated[int | None, msgspec.Meta(description="in a journal and not yet in PostgreSQL; null: unknown")]
    tables: AuditTables
    archived: Annotated[int, msgspec.Meta(description="of those stored, in history no more: archived, or given up")]


class AuditBook(_Answer):
    """One journal's counts of one kind: received = stored + duplicates + deadLettered."""

    journal_id: str
    shard: int
    shards: int
    kind: str
    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int
    stored_undated: Annotated[int, msgspec.Meta(description="of those stored, before their days were counted")]


class AuditDay(_Answer):
    """One UTC day of a kind: rows that the books say were stored, rows in its partition, and rows that have left it."""

    kind: str
    day: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date"})]
    partition: str
    stored: int
    rows: int
    archived: int


class AuditJournal(_Answer):
    """One journal, and its readings by kind. Nulls: its file is not here, or it does not know what it has forgotten."""

    journal_id: str
    shard: int
    shards: int
    file: str | None
    last_seq: int | None
    committed_seq: Annotated[int | None, msgspec.Meta(description="null where PostgreSQL does not know the journal")]
    acknowledged: dict[str, int] | None
    in_flight: dict[str, int] | None


class Audit(_Answer):
    """The books beside journals and tables. They balance where there are no differences."""

    balanced: bool
    kinds: dict[str, AuditKind]
    books: list[AuditBook]
    days: list[AuditDay]
    journals: list[AuditJournal]
    from_day: Annotated[str | None, msgspec.Meta(description="first UTC day of history that was read; null: all")]
    notes: Annotated[list[str], msgspec.Meta(description="what could not be compared, and is no difference")]
    differences: Annotated[list[str], msgspec.Meta(description="every place that does not agree")]


SCHEMAS: tuple[type[Any], ...] = (QueueCounts, Job, Performance, Fleet, Past, Now, Audit, Health, Readiness)
