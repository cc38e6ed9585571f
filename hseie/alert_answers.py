"""The answer of the route for alerts, as `answers` declares the others."""

from typing import Annotated

import msgspec

from hseie.answers import Kwh, Percent, Time
from hseie.readings import KINDS


class AlertPair(msgspec.Struct, rename="camel", kw_only=True):
    """A vehicle and a meter between which more is lost than should be."""

    vehicle_id: str
    meter_id: str
    efficiency_ratio: Percent
    total_energy_consumed_ac: Kwh
    total_energy_delivered_dc: Kwh
    lost: Annotated[float, msgspec.Meta(description="kWh: AC less DC")]
    correlated: Annotated[int, msgspec.Meta(description="pairs of readings that this stands on")]
    share: Annotated[float, msgspec.Meta(description="of the readings of the side that has more, those correlated")]


class SilentDevice(msgspec.Struct, rename="camel", kw_only=True):
    """A device that has not reported for too many of its cadences."""

    kind: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [kind.name for kind in KINDS]})]
    device_id: str
    last_reading: Time
    cadence: Annotated[float, msgspec.Meta(description="usual seconds between its readings")]
    silent_for: Annotated[float, msgspec.Meta(description="seconds at `computedAt`")]


class Alerts(msgspec.Struct, rename="camel", kw_only=True):
    """Pairs that lose too much in the range from `from` to `to`, and devices that are silent now."""

    period: Annotated[str, msgspec.Meta(description="the window asked for, like 24h, or an ISO 8601 interval")]
    from_: Time | None = msgspec.field(name="from")
    to: Time | None
    source: Annotated[
        str,
        msgspec.Meta(
            description="`rollups` of closed hours; `raw` readings of the latest minutes, while no hour is closed; or "
            "`none`: nothing could be judged, `notes` says why",
            extra_json_schema={"enum": ["rollups", "raw", "none"]},
        ),
    ]
    threshold: Annotated[float, msgspec.Meta(description="percent of DC to AC below which a pair is here")]
    total_pairs: Annotated[int, msgspec.Meta(description="how many there are, however many are listed")]
    pairs: Annotated[list[AlertPair], msgspec.Meta(description="the worst first")]
    total_silent: Annotated[int, msgspec.Meta(description="how many there are, however many are listed")]
    silent: Annotated[list[SilentDevice], msgspec.Meta(description="the longest silent first")]
    pending: Annotated[
        int,
        msgspec.Meta(
            description="what waits to change the rollups of the range: late readings' marks, and vehicles that "
            "another meter feeds by their ids than these were made with"
        ),
    ]
    notes: Annotated[list[str], msgspec.Meta(description="what a reader should know, for people")]
    computed_at: Time
