"""The JSON of pairings: what is sent to set one, and what is answered. OpenAPI describes them.

Members that a later version adds are additions; none of these changes its meaning.
"""

from typing import Annotated, Any

import msgspec

from hseie.answers import Time, rfc3339
from hseie.pair_plan import Change
from hseie.pair_plan import Pair as Row
from hseie.readings import ID_LENGTH_MAX, ID_PATTERN, METER

_MeterId = Annotated[
    str,
    msgspec.Meta(
        pattern=ID_PATTERN,
        max_length=ID_LENGTH_MAX,
        min_length=1,
        description="id of the meter; null: nobody feeds the vehicle, whatever its id says",
        examples=[METER.example_id],
    ),
]


class PairRequest(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Which meter is to feed the vehicle, and when."""

    meter_id: _MeterId | None
    valid_from: Annotated[
        Time | None, msgspec.Meta(description="not there or null: now. In the past as far as readings may be old")
    ] = None
    valid_to: Annotated[Time | None, msgspec.Meta(description="not there or null: open. After it the ids count")] = None


class Pair(msgspec.Struct, rename="camel", kw_only=True):
    """A meter and the vehicle that it feeds, from a time (it belongs to it) until another (it does not)."""

    vehicle_id: str
    meter_id: Annotated[str | None, msgspec.Meta(description="null: nobody feeds the vehicle")]
    valid_from: Time
    valid_to: Annotated[Time | None, msgspec.Meta(description="null: open")]

    @classmethod
    def of(cls, row: Row) -> "Pair":
        """Return a row as it goes on the wire."""
        return cls(
            vehicle_id=row.vehicle_id,
            meter_id=row.meter_id,
            valid_from=rfc3339(row.valid_from),
            valid_to=rfc3339(row.valid_to) if row.valid_to is not None else None,
        )


class PairChange(msgspec.Struct, rename="camel", kw_only=True):
    """What has become of pairings."""

    pair: Annotated[Pair, msgspec.Meta(description="the one that was asked for, as it is now")]
    changed: Annotated[bool, msgspec.Meta(description="false: it was so already")]
    ended: Annotated[list[Pair], msgspec.Meta(description="those that end earlier now")]
    removed: Annotated[list[Pair], msgspec.Meta(description="those that are gone; none of them had ended")]

    @classmethod
    def of(cls, change: Change) -> "PairChange":
        """Return what a change did as it goes on the wire."""
        return cls(
            pair=Pair.of(change.pair),
            changed=change.changed,
            ended=[Pair.of(row) for row in change.ended],
            removed=[Pair.of(row) for row in change.removed],
        )


class PairPage(msgspec.Struct, rename="camel", kw_only=True):
    """Pairings by vehicle and start; `next` is the cursor of the following page, null on the last one."""

    pairs: list[Pair]
    next: str | None


SCHEMAS: tuple[type[Any], ...] = (PairRequest, PairChange, PairPage)
