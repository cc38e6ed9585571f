"""Rows about many readings in one body: arrays, lines, both kinds mixed."""

from typing import Any

from hseie.problems import ERRORS_MAX
from hseie.readings import KINDS, METER, VEHICLE
from tests.wire.row import MARKER, NDJSON, Row, batch, reading, stored

READINGS_MAX = 20
"""`http.batch_readings_max` of the node that the rows are sent to."""

MIXED = "/v1/ingest"
GOOD = reading()
BAD = reading(voltage="501")
_MANY_WRONG = tuple(f"{name} unknown_field" for name in (f"/x{number}" for number in range(7)))


def _numbered(count: int) -> tuple[list[str], tuple[str, ...]]:
    """So many readings of one device that differ, and their lines."""
    amounts = [f"{number}.25" for number in range(count)]
    return (
        [reading(kwhConsumedAc=amount) for amount in amounts],
        tuple(stored(kwhConsumedAc=amount) for amount in amounts),
    )


_FULL, _FULL_LINES = _numbered(READINGS_MAX)

_ARRAYS = (
    Row(name="batch: empty", body="[]", status=400, code="empty_batch"),
    Row(name="batch: empty, with white space", body=" [ \n ] ", status=400, code="empty_batch"),
    Row(
        name="batch: exactly as many as there may be",
        body=batch(*_FULL),
        status=202,
        counts=(READINGS_MAX, 0, 0),
        stores=_FULL_LINES,
    ),
    Row(name="batch: one too many", body=batch(*_FULL, GOOD), status=413, code="batch_too_large"),
    Row(
        name="batch: one too many, all of them nothing",
        body=batch(*["0"] * (READINGS_MAX + 1)),
        status=413,
        code="batch_too_large",
    ),
    Row(name="batch: thousands of nothing", body=batch(*["0"] * 10_000), status=413, code="batch_too_large"),
    Row(
        name="batch: one reading in an array",
        body=batch(GOOD),
        status=202,
        counts=(1, 0, 0),
        stores=(stored(),),
    ),
    Row(
        name="batch: bad ones among good ones",
        body=batch(
            GOOD,
            BAD,
            reading(kwhConsumedAc="1"),
            reading(without=("timestamp",)),
            reading(kwhConsumedAc="2"),
            f'"{MARKER}"',
        ),
        status=207,
        counts=(3, 0, 3),
        errors=("1 /voltage out_of_range", "3 /timestamp missing_field", "5  not_an_object"),
        answer_has=('"rejectedIndexes":[1,3,5]',),
        stores=(stored(), stored(kwhConsumedAc="1"), stored(kwhConsumedAc="2")),
    ),
    Row(
        name="batch: the first and the last are bad",
        body=batch(BAD, GOOD, BAD),
        status=207,
        counts=(1, 0, 2),
        errors=("0 /voltage out_of_range", "2 /voltage out_of_range"),
        stores=(stored(),),
    ),
    Row(
        name="batch: only bad ones",
        body=batch(BAD, BAD),
        status=400,
        code="all_rejected",
        counts=(0, 0, 2),
        errors=("0 /voltage out_of_range", "1 /voltage out_of_range"),
    ),
    Row(
        name="batch: items that are no objects",
        body=batch("null", "true", "1", '"x"', "[]", f"[{GOOD}]"),
        status=400,
        code="all_rejected",
        counts=(0, 0, 6),
        errors=tuple(f"{index}  not_an_object" for index in range(6)),
    ),
    Row(
        name="batch: an array in an array",
        body=f"[[{GOOD}]]",
        status=400,
        code="all_rejected",
        counts=(0, 0, 1),
        errors=("0  not_an_object",),
    ),
    Row(
        name="batch: more errors than are told",
        body=batch(*[reading(**{f"x{number}": "1" for number in range(7)})] * READINGS_MAX),
        status=400,
        code="all_rejected",
        counts=(0, 0, READINGS_MAX),
        errors=tuple(f"{index} {error}" for index in range(READINGS_MAX) for error in _MANY_WRONG)[:ERRORS_MAX],
    ),
    Row(
        name="batch: the same reading twice",
        body=batch(GOOD, GOOD),
        status=202,
        counts=(1, 1, 0),
        stores=(stored(),),
    ),
    Row(
        name="batch: the same reading twice, written otherwise",
        body=batch(
            GOOD,
            reading(
                voltage="2.4975e2" if "249.75" in GOOD else "4.975e1", timestamp='"@3600:%Y-%m-%dT%H:%M:%S.000+01:00@"'
            ),
        ),
        status=202,
        counts=(1, 1, 0),
        stores=(stored(),),
    ),
    Row(
        name="batch: one device with two values at one time",
        body=batch(GOOD, reading(voltage="1")),
        status=202,
        counts=(2, 0, 0),
        stores=(stored(), stored(voltage="1")),
    ),
    Row(
        name="batch: one device, the newer one first",
        body=batch(GOOD, reading(timestamp='"@-60@"')),
        status=202,
        counts=(2, 0, 0),
        stores=(stored(), stored(time="@-60:%Y-%m-%dT%H:%M:%S.%fZ@")),
    ),
    Row(
        name="batch: of the other kind",
        body=batch(reading(VEHICLE)),
        status=400,
        code="all_rejected",
        counts=(0, 0, 1),
        errors=(
            *(f"0 /{name} unknown_field" for name in ("vehicleId", *(field.wire for field in VEHICLE.fields))),
            *(f"0 /{name} missing_field" for name in ("meterId", *(field.wire for field in METER.fields))),
        ),
    ),
    Row(
        name="batch: in an object",
        body=f'{{"readings": [{GOOD}]}}',
        status=400,
        code="invalid_reading",
        errors=(
            "/readings unknown_field",
            *(f"/{name} missing_field" for name in METER.wire_fields),
        ),
    ),
)


def _lines(
    name: str, body: str, status: int, code: str = "", *, path: str = "/v1/ingest/meter", **expected: Any
) -> Row:
    return Row(name=f"lines: {name}", path=path, headers=NDJSON, body=body, status=status, code=code, **expected)


_ONE = {"counts": (1, 0, 0), "stores": (stored(),)}
_TWO = {"counts": (2, 0, 0), "stores": (stored(), stored(voltage="1"))}
OTHER = reading(voltage="1")

_LINES = (
    _lines("one without a newline", GOOD, 202, **_ONE),
    _lines("one with a newline", GOOD + "\n", 202, **_ONE),
    _lines("two", f"{GOOD}\n{OTHER}\n", 202, **_TWO),
    _lines("two as Windows ends them", f"{GOOD}\r\n{OTHER}\r\n", 202, **_TWO),
    _lines("blank ones between", f"\n\n{GOOD}\n \t \n{OTHER}\n\n\n", 202, **_TWO),
    _lines("many blank ones", "\n" * 5000 + GOOD + "\n" * 5000, 202, **_ONE),
    _lines("exactly as many as there may be", "\n".join(_FULL), 202, counts=(READINGS_MAX, 0, 0), stores=_FULL_LINES),
    _lines(
        "exactly as many, with blank ones", "\n\n".join(_FULL), 202, counts=(READINGS_MAX, 0, 0), stores=_FULL_LINES
    ),
    _lines("one too many", "\n".join([*_FULL, GOOD]), 413, "batch_too_large"),
    _lines("one too many, the last being nothing", "\n".join([*_FULL, "x"]), 413, "batch_too_large"),
    _lines("thousands", "0\n" * 10_000, 413, "batch_too_large"),
    _lines("none", "", 400, "empty_batch"),
    _lines("only newlines", "\n\r\n\n", 400, "empty_batch"),
    _lines("only blanks", "  \t ", 400, "empty_batch"),
    _lines(
        "one that is cut off",
        f"{GOOD}\n{GOOD[:-1]}",
        207,
        counts=(1, 0, 1),
        errors=("1  bad_json",),
        stores=(stored(),),
    ),
    _lines(
        "every way of being wrong",
        "\n".join((f"{MARKER}", BAD, GOOD, "[]", "null", "", "{}", "NaN", '{"meterId": "\\ud800"}', "\f")),
        207,
        counts=(1, 0, 8),
        errors=(
            "0  bad_json",
            "1 /voltage out_of_range",
            "3  not_an_object",
            "4  not_an_object",
            *(f"5 /{name} missing_field" for name in METER.wire_fields),
            "6  bad_json",
            "7  bad_json",
            "8  bad_json",
        ),
        stores=(stored(),),
    ),
    _lines(
        "an object across two",
        reading().replace(", ", ",\n", 1),
        400,
        "all_rejected",
        counts=(0, 0, 2),
        errors=("0  bad_json", "1  bad_json"),
    ),
    _lines("two on one", f"{GOOD} {GOOD}", 400, "all_rejected", counts=(0, 0, 1), errors=("0  bad_json",)),
    _lines(
        "with a comma behind each",
        f"{GOOD},\n{GOOD},\n",
        400,
        "all_rejected",
        counts=(0, 0, 2),
        errors=("0  bad_json", "1  bad_json"),
    ),
    _lines("an array on one", batch(GOOD), 400, "all_rejected", counts=(0, 0, 1), errors=("0  not_an_object",)),
    _lines(
        "a byte order mark in front",
        f"\ufeff{GOOD}\n{OTHER}",
        207,
        counts=(1, 0, 1),
        errors=("0  bad_json",),
        stores=(stored(voltage="1"),),
    ),
    _lines(
        "the separator of JSON sequences",
        f"\x1e{GOOD}\n",
        400,
        "all_rejected",
        counts=(0, 0, 1),
        errors=("0  bad_json",),
    ),
    _lines(
        "a line separator of Unicode is no newline",
        f"{GOOD}\u2028{GOOD}",
        400,
        "all_rejected",
        counts=(0, 0, 1),
        errors=("0  bad_json",),
    ),
    _lines("the same reading twice", f"{GOOD}\n{GOOD}\n", 202, counts=(1, 1, 0), stores=(stored(),)),
    _lines(
        "both kinds",
        f"{GOOD}\n{reading(VEHICLE)}\n",
        202,
        path=MIXED,
        counts=(2, 0, 0),
        stores=(stored(), stored(VEHICLE)),
    ),
)


def _mixed(name: str, body: str, status: int, code: str = "", **expected: Any) -> Row:
    return Row(name=f"mixed: {name}", path=MIXED, body=body, status=status, code=code, **expected)


_BOTH_IDS = reading(vehicleId='"@ID@"')
_NO_ID = reading(without=("meterId",))

_MIXED = (
    *(_mixed(f"one {kind.name}", reading(kind), 202, stores=(stored(kind),)) for kind in KINDS),
    _mixed(
        "both in an array",
        batch(reading(VEHICLE), GOOD, reading(VEHICLE, soc="1")),
        202,
        counts=(3, 0, 0),
        stores=(stored(VEHICLE), stored(), stored(VEHICLE, soc="1")),
    ),
    _mixed("one with both ids", _BOTH_IDS, 400, "invalid_reading", errors=(" unknown_kind",)),
    _mixed("one without an id", _NO_ID, 400, "invalid_reading", errors=(" unknown_kind",)),
    _mixed(
        "an id in other letters",
        reading(without=("meterId",), meterid='"@ID@"'),
        400,
        "invalid_reading",
        errors=(" unknown_kind",),
    ),
    _mixed("an empty object", "{}", 400, "invalid_reading", errors=(" unknown_kind",)),
    _mixed(
        "both ids and none among good ones",
        batch(_BOTH_IDS, GOOD, _NO_ID, reading(VEHICLE), "7"),
        207,
        counts=(2, 0, 3),
        errors=("0  unknown_kind", "2  unknown_kind", "4  not_an_object"),
        stores=(stored(), stored(VEHICLE)),
    ),
    _mixed(
        "as many ids as items, and not one each",
        batch(_BOTH_IDS, _NO_ID, GOOD),
        207,
        counts=(1, 0, 2),
        errors=("0  unknown_kind", "1  unknown_kind"),
        stores=(stored(),),
    ),
    _mixed(
        "bad ones of both kinds",
        batch(reading(VEHICLE, soc="101"), BAD, GOOD),
        207,
        counts=(1, 0, 2),
        errors=("0 /soc out_of_range", "1 /voltage out_of_range"),
        stores=(stored(),),
    ),
    _mixed("an id that is no text", reading(meterId="5"), 400, "invalid_reading", errors=("/meterId bad_type",)),
    _mixed(
        "the values of the other kind",
        reading(VEHICLE, without=("vehicleId",), meterId='"@ID@"'),
        400,
        "invalid_reading",
        errors=(
            *(f"/{field.wire} unknown_field" for field in VEHICLE.fields),
            *(f"/{field.wire} missing_field" for field in METER.fields),
        ),
    ),
    _mixed("nothing", "[]", 400, "empty_batch"),
    _mixed("one too many", batch(*_FULL, reading(VEHICLE)), 413, "batch_too_large"),
    _mixed(
        "the same id for both kinds, twice each",
        batch(GOOD, reading(VEHICLE), GOOD, reading(VEHICLE)),
        202,
        counts=(2, 2, 0),
        stores=(stored(), stored(VEHICLE)),
    ),
    Row(name="mixed: no type", path=MIXED, headers=(), body=GOOD, status=415, code="unsupported_media_type"),
    Row(name="mixed: a slash at the end", path=MIXED + "/", body=GOOD, status=404, code="not_found"),
)

ROWS = (*_ARRAYS, *_LINES, *_MIXED)
