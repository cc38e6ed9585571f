"""What PostgreSQL has to show of a reading that was taken, worked out from its JSON on a way of its own.

A line is kind, device, time in UTC to the microsecond, and values, with blanks between.
"""

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import orjson

from hseie.readings import KINDS, Kind

_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:]{8})(\.[0-9]+)?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))")


def time_of(text: str) -> str:
    """A time as it is stored. Digits behind the sixth are rounded, halves away from zero."""
    match = _TIME.fullmatch(text)
    assert match, f"{text!r} was taken for a time"
    day, clock, fraction, sign, hours, minutes = match.groups()
    microseconds = int((Decimal(fraction or 0) * 1_000_000).to_integral_value(ROUND_HALF_UP))
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    moment = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S") + timedelta(microseconds=microseconds) - offset
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def line_of(kind: Kind, item: dict[str, Any]) -> str:
    """The line of an item that was taken as a reading of a kind."""
    values = []
    for field in kind.fields:
        # A float is a binary number: this is what it is exactly, before it is rounded.
        number = Decimal(float(item[field.wire])).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_EVEN)
        values.append(f"{abs(number) if number == 0 else number:f}")
    return " ".join((kind.name, item[kind.id_wire], time_of(item["timestamp"]), *values))


def kind_of(item: Any) -> Kind | None:
    """The kind of an item of a mixed body; None if it has not exactly one id."""
    found = [kind for kind in KINDS if isinstance(item, dict) and kind.id_wire in item]
    return found[0] if len(found) == 1 else None


def stored_sql(kind: Kind) -> str:
    """The statement that shows the history of a kind as lines."""
    moment = "to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    parts = (f"'{kind.name}'", kind.id_column, moment, *(field.column for field in kind.fields))
    return f"SELECT concat_ws(' ', {', '.join(parts)}) FROM {kind.name}_history"


def items_of(body: bytes, *, ndjson: bool) -> list[Any]:
    """The items of a body that was not refused whole; an Exception in place of one that is no JSON."""
    if not ndjson:
        document = orjson.loads(body)
        return document if isinstance(document, list) else [document]
    found: list[Any] = []
    for text in body.split(b"\n"):
        if text.strip(b" \t\r\n"):
            try:
                found.append(orjson.loads(text))
            except orjson.JSONDecodeError as error:
                found.append(error)
    return found
