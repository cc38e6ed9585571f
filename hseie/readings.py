"""Both kinds of reading, each declared once.

Validation, table columns, COPY rows, OpenAPI and the documentation are made from the declarations in `KINDS`; a third
kind is one more declaration here and one migration. The ranges are those of the wire contract.
"""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

ID_LENGTH_MAX = 50
ID_PATTERN = f"^[A-Za-z0-9._:-]{{1,{ID_LENGTH_MAX}}}$"
# fullmatch, because "$" would let a final newline pass.
is_device_id = re.compile(f"[A-Za-z0-9._:-]{{1,{ID_LENGTH_MAX}}}").fullmatch


@dataclass(frozen=True)
class Field:
    """One measured value: its name on the wire and in SQL, its unit, its range, its decimals, and one that is usual."""

    wire: str
    column: str
    unit: str
    meaning: str
    precision: int  # total decimal digits of the column, DECIMAL(precision, scale)
    scale: int  # digits after the point; values are rounded to them
    minimum: float
    maximum: float
    maximum_excluded: bool = False
    _: KW_ONLY
    example: float

    @property
    def limits(self) -> msgspec.Meta:
        """The range, in the form that validation and JSON Schema take."""
        if self.maximum_excluded:
            return msgspec.Meta(ge=self.minimum, lt=self.maximum)
        return msgspec.Meta(ge=self.minimum, le=self.maximum)


@dataclass(frozen=True)
class Kind:
    """One kind of reading. `number` is its place in frames and in the journal and never changes."""

    number: int
    name: str
    id_wire: str
    id_column: str
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a COPY row, in order: id, timestamp, values."""
        return (self.id_column, "timestamp", *(field.column for field in self.fields))

    @property
    def wire_fields(self) -> tuple[str, ...]:
        """All member names of the JSON object."""
        return (self.id_wire, "timestamp", *(field.wire for field in self.fields))

    @property
    def energy(self) -> Field:
        """The field that adds up."""
        return next(field for field in self.fields if field.unit == "kWh")

    @property
    def measured(self) -> tuple[Field, ...]:
        """The fields that do not add up, of which rollups keep first, last, least, most and sum."""
        return tuple(field for field in self.fields if field.unit != "kWh")

    @property
    def example_id(self) -> str:
        """An id as the documentation writes it."""
        return f"{self.name.upper()}_001"


_ENERGY_BELOW = 999_999.99995  # the largest energy that DECIMAL(10,4) still holds after rounding lies just below

METER = Kind(
    number=0,
    name="meter",
    id_wire="meterId",
    id_column="meter_id",
    fields=(
        Field(
            "kwhConsumedAc",
            "kwh_consumed_ac",
            "kWh",
            "energy drawn since the device's previous reading",
            10,
            4,
            0,
            _ENERGY_BELOW,
            True,
            example=10.5,
        ),
        Field("voltage", "voltage", "V", "line voltage", 6, 2, 0, 500, example=230),
    ),
)
VEHICLE = Kind(
    number=1,
    name="vehicle",
    id_wire="vehicleId",
    id_column="vehicle_id",
    fields=(
        Field("soc", "soc", "%", "state of charge of the battery", 5, 2, 0, 100, example=75.5),
        Field(
            "kwhDeliveredDc",
            "kwh_delivered_dc",
            "kWh",
            "energy that reached the battery since the device's previous reading",
            10,
            4,
            0,
            _ENERGY_BELOW,
            True,
            example=9.5,
        ),
        Field("batteryTemp", "battery_temp", "°C", "temperature of the battery", 5, 2, -20, 80, example=28.5),
    ),
)
KINDS: tuple[Kind, ...] = (METER, VEHICLE)
KIND_BY_NAME = {kind.name: kind for kind in KINDS}


def _reading_type(kind: Kind) -> type[msgspec.Struct]:
    # Attributes carry the wire names, so that errors of msgspec name what the sender wrote. The id's alphabet is not
    # checked here but by `is_device_id`, once per device instead of once per reading (acceptor/parse.py).
    values = [(field.wire, Annotated[float, field.limits]) for field in kind.fields]
    return msgspec.defstruct(
        f"{kind.name.capitalize()}Reading",
        [(kind.id_wire, str), ("timestamp", Annotated[datetime, msgspec.Meta(tz=True)]), *values],
        forbid_unknown_fields=True,
        gc=False,
    )


def _row_maker(kind: Kind) -> Callable[[str, str, Any], str]:
    # Compiled from the declaration, as dataclasses compile theirs: an f-string of attributes takes 0.5 µs a row where
    # a format string fed by attrgetter takes 0.6. "z" writes -0.00 as 0.00, so that equal values make equal rows.
    values = "".join(f"\\t{{reading.{field.wire}:z.{field.scale}f}}" for field in kind.fields)
    maker: Callable[[str, str, Any], str] = eval(  # noqa: S307  # the text is made from the declaration above
        f"lambda device, time, reading: f'{{device}}\\t{{time}}{values}\\n'"
    )
    return maker


READING_TYPES: tuple[type[msgspec.Struct], ...] = tuple(_reading_type(kind) for kind in KINDS)
"""Per kind number: the validated form of one JSON object. `msgspec.convert` raises msgspec.ValidationError."""

ROW_MAKERS: tuple[Callable[[str, str, Any], str], ...] = tuple(_row_maker(kind) for kind in KINDS)
"""Per kind number: (device id, canonical time, reading) to one line of COPY text, ending in a newline.

Equal readings give equal lines, so the line is also the key by which re-sends are recognised. Nothing needs escaping:
ids have a small alphabet and the rest are numbers and times.
"""


def canonical_time(text: str, moment: datetime) -> str:
    """Return a time as UTC text `YYYY-MM-DDTHH:MM:SS[.ffffff]`, without offset and without trailing zeros.

    In this form equal moments are equal texts, and earlier ones sort before later ones, so that windows and "newest
    wins" are string comparisons and PostgreSQL reads it as it is (session time zone UTC). `text` is what the sender
    wrote, already validated as RFC 3339, and `moment` the same parsed: the usual shape, `...SS.mmmZ`, is only sliced.

    Raises OverflowError for moments outside the years 1 to 9999 once moved to UTC.
    """
    if text[-1] == "Z" and text[10] == "T":
        if len(text) == 20:
            return text[:19]
        if len(text) <= 27 and text[19] == ".":
            stripped = text[:-1].rstrip("0")
            return stripped[:-1] if stripped[-1] == "." else stripped
    return time_text(moment)


def time_text(moment: datetime) -> str:
    """Return an aware datetime in the form of `canonical_time`. Raises OverflowError as that does."""
    plain = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return plain.rstrip("0") if "." in plain else plain
