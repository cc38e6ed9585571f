"""Rows about many readings in one body: arrays, lines, both kinds mixed."""

from hseie.problems import ERRORS_MAX
from hseie.readings import METER, VEHICLE
from tests.wire.row import MARKER, Row, batch, reading, stored

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

ROWS = _ARRAYS
