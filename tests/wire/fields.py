"""Rows about the members of a reading, made from the declarations: whatever kind there is has its rows."""

from decimal import Decimal

from hseie.readings import ID_LENGTH_MAX, KINDS, METER, Field, Kind
from tests.wire.row import MARKER, MICROSECONDS, Row, ingest_path, reading, stored

_HUGE = "1" + "0" * 299


def _taken(name: str, kind: Kind = METER, device: str = "@ID@", time: str = "", **literals: str) -> Row:
    values = {field.wire: literals[field.wire] for field in kind.fields if field.wire in literals}
    line = stored(kind, device, **({"time": time} if time else {}), **values)
    return Row(name=name, path=ingest_path(kind), body=reading(kind, **literals), status=202, stores=(line,))


def _refused(name: str, errors: str, kind: Kind = METER, *, without: tuple[str, ...] = (), **literals: str) -> Row:
    return Row(
        name=name,
        path=ingest_path(kind),
        body=reading(kind, without=without, **literals),
        status=400,
        code="invalid_reading",
        errors=(errors,),
    )


def _value_rows(kind: Kind, field: Field) -> list[Row]:
    step = Decimal(1).scaleb(-field.scale)
    least = Decimal(str(field.minimum))
    # Where the maximum itself is out, the largest number that the column can hold is in.
    most = (
        Decimal(str(field.maximum)).quantize(step, "ROUND_FLOOR")
        if field.maximum_excluded
        else Decimal(str(field.maximum))
    )
    below, above = least - step, most + step
    about = f"{kind.name} {field.wire}:"

    def taken(name: str, literal: str) -> Row:
        return _taken(f"{about} {name}", kind, **{field.wire: literal})

    def refused(name: str, literal: str, code: str) -> Row:
        return _refused(f"{about} {name}", f"/{field.wire} {code}", kind, **{field.wire: literal})

    too_large = Decimal(10) ** (field.precision - field.scale)  # for DECIMAL(precision, scale)
    rows = [
        refused("too large for its column", f"{too_large}", "out_of_range"),
        refused("too large for its column once it is rounded", f"{too_large - step / 2}", "out_of_range"),
        refused("too small for its column", f"{-too_large}", "out_of_range"),
        taken("the least", f"{least}"),
        taken("the most", f"{most}"),
        taken("the least with an exponent", f"{least:E}".replace("E", "e")),
        taken("the least that is rounded up to it", f"{least + step / 4}"),
        taken("more decimals than are kept", f"{(least + most) / 2 + step / 3:.12f}"),
        taken("a half is rounded as the binary number lies", f"{least + 1 + step / 2}"),
        refused("one step below", f"{below}", "out_of_range"),
        refused("one step above", f"{above}", "out_of_range"),
        refused(
            "a thousandth of a step below, which would round into the range", f"{least - step / 1000}", "out_of_range"
        ),
        refused("the largest double", "1.7976931348623157e308", "out_of_range"),
        refused("the least double", "-1.7976931348623157e308", "out_of_range"),
        refused("2^63", str(2**63), "out_of_range"),
        refused("2^64", str(2**64), "out_of_range"),
        refused("minus 2^64", str(-(2**64)), "out_of_range"),
        refused("300 digits", _HUGE, "out_of_range"),
        refused("null", "null", "bad_type"),
        refused("true", "true", "bad_type"),
        refused("false", "false", "bad_type"),
        refused("a number as text", f'"{most}"', "bad_type"),
        refused("a text", f'"{MARKER}"', "bad_type"),
        refused("an empty text", '""', "bad_type"),
        refused("a list", f"[{most}]", "bad_type"),
        refused("an object", f'{{"value": {most}}}', "bad_type"),
        _refused(f"{about} missing", f"/{field.wire} missing_field", kind, without=(field.wire,)),
        _refused(
            f"{about} in other letters",
            f"/{field.wire.upper()} unknown_field",
            kind,
            **{field.wire.upper(): f"{most}"},
        ),
    ]
    if field.minimum <= 0:
        rows += [taken("minus zero", "-0.0"), taken("a number next to nothing", "1e-320")]
    if field.maximum_excluded:
        rows.append(refused("the limit that is not in the range", repr(field.maximum), "out_of_range"))
        rows.append(taken("just not too large after rounding", f"{Decimal(str(field.maximum)) - step / 100}"))
    return rows


def _id_rows(kind: Kind) -> list[Row]:
    about = f"{kind.name} {kind.id_wire}:"
    wrong = {
        "empty": '""',
        "one character too long": '"' + "x" * (ID_LENGTH_MAX + 1) + '"',
        "a megabyte would be worse": '"' + MARKER * 1000 + '"',
        "NUL": rf'"{MARKER}\u0000"',
        "TAB": rf'"{MARKER}\tb"',
        "a newline inside": rf'"{MARKER}\nb"',
        "a newline at the end": rf'"{MARKER}\n"',
        "a carriage return": rf'"{MARKER}\r"',
        "a backslash": rf'"{MARKER}\\N"',
        "the end mark of COPY": r'"\\."',
        "a blank inside": f'"{MARKER} b"',
        "a blank at the end": f'"{MARKER} "',
        "a slash": f'"{MARKER}/current"',
        "a percent sign": f'"{MARKER}%00"',
        "a quote": rf'"{MARKER}\"; --"',
        "markup": f'"<script>{MARKER}</script>"',
        "an emoji": '"😀"',
        "a letter that only looks like one": f'"{MARKER}_\u0410"',
        "a full-width digit": '"METER_\uff11"',
        "an Arabic digit": '"METER_\u0661"',
        "a combining accent": '"e\u0301"',
        "a zero-width blank": f'"{MARKER}\u200b"',
        "a character that turns the direction": f'"{MARKER}\u202e"',
        "DEL": rf'"{MARKER}\u007f"',
        "no character": '"\uffff"',
    }
    rows = [
        _refused(f"{about} {name}", f"/{kind.id_wire} bad_id", kind, **{kind.id_wire: text})
        for name, text in wrong.items()
    ]
    for name, literal in {
        "a number": "5",
        "null": "null",
        "a list": '["A"]',
        "true": "true",
        "an object": "{}",
    }.items():
        rows.append(_refused(f"{about} {name}", f"/{kind.id_wire} bad_type", kind, **{kind.id_wire: literal}))
    rows.append(_refused(f"{about} missing", f"/{kind.id_wire} missing_field", kind, without=(kind.id_wire,)))
    for name, device in {
        "as long as it may be": f"{kind.name}-".ljust(ID_LENGTH_MAX, "x"),
        "one character": {"meter": "m", "vehicle": "v"}.get(kind.name, kind.name[0].upper()),
        "dots only": "." * (kind.number + 3),
        "a colon, a dot, a dash": f"{kind.name}:1.2-3_4",
        "what looks like a number": f"-{kind.number}.5",
        "what looks like nothing": f"NULL{kind.number}",
    }.items():
        rows.append(_taken(f"{about} {name}", kind, device, **{kind.id_wire: f'"{device}"'}))
    return rows


def _time_rows(kind: Kind = METER) -> list[Row]:
    """Times are read the same for every kind."""
    wrong = {
        "now": "now",
        "infinity": "infinity",
        "epoch": "epoch",
        "empty": "",
        "blank": " ",
        "seconds since 1970 as text": "@0:%s@",
        "a date only": "@0:%Y-%m-%d@",
        "no offset": "@0:%Y-%m-%dT%H:%M:%S@",
        "no seconds": "@0:%Y-%m-%dT%H:%MZ@",
        "no minutes": "@0:%Y-%m-%dT%HZ@",
        "no dashes and colons": "@0:%Y%m%dT%H%M%SZ@",
        "a day that the calendar has not": "2026-02-30T00:00:00Z",
        "29 February of a year that has none": "2026-02-29T00:00:00Z",
        "month 13": "2026-13-01T00:00:00Z",
        "month 0": "2026-00-10T00:00:00Z",
        "day 0": "2026-02-00T00:00:00Z",
        "hour 24": "@-86400:%Y-%m-%dT24:00:00Z@",
        "hour 25": "@-86400:%Y-%m-%dT25:00:00Z@",
        "minute 60": "@-86400:%Y-%m-%dT10:60:00Z@",
        "a leap second": "@-86400:%Y-%m-%dT23:59:60Z@",
        "second 61": "@-86400:%Y-%m-%dT23:59:61Z@",
        "week date": "@0:%G-W%V-%uT%H:%M:%SZ@",
        "day of the year": "@0:%Y-%jT%H:%M:%SZ@",
        "an offset of an hour only": "@0:%Y-%m-%dT%H:%M:%S+00@",
        "an offset of 24 hours": "@86400:%Y-%m-%dT%H:%M:%S+24:00@",
        "an offset of 60 minutes": "@0:%Y-%m-%dT%H:%M:%S+00:60@",
        "an offset with seconds": "@0:%Y-%m-%dT%H:%M:%S+00:00:00@",
        "Z and an offset": "@0:%Y-%m-%dT%H:%M:%SZ+00:00@",
        "the name of a zone": "@0:%Y-%m-%dT%H:%M:%S UTC@",
        "a zone in brackets": "@0:%Y-%m-%dT%H:%M:%SZ[Europe/Berlin]@",
        "a fraction without digits": "@0:%Y-%m-%dT%H:%M:%S.Z@",
        "a comma before the fraction": "@0:%Y-%m-%dT%H:%M:%S,5Z@",
        "a blank in front": "@0: %Y-%m-%dT%H:%M:%SZ@",
        "a blank behind": "@0:%Y-%m-%dT%H:%M:%SZ @",
        "a newline behind": r"@0:%Y-%m-%dT%H:%M:%SZ@\n",
        "a NUL behind": r"@0:%Y-%m-%dT%H:%M:%SZ@\u0000",
        "two blanks in the middle": "@0:%Y-%m-%d  %H:%M:%SZ@",
        "an underline in the middle": "@0:%Y-%m-%d_%H:%M:%SZ@",
        "a year of five digits": "12026-02-09T12:00:00Z",
        "a year of two digits": "@0:%y-%m-%dT%H:%M:%SZ@",
        "year 0000": "0000-01-01T00:00:00Z",
        "a year before Christ": "-0001-01-01T00:00:00Z",
        "Arabic digits": "\u0662\u0660\u0662\u0666-02-09T12:00:00Z",
        "full-width digits": "\uff12\uff10\uff12\uff16-02-09T12:00:00Z",
        "as in a mail": "@0:%a, %d %b %Y %H:%M:%S GMT@",
        "as in the United States": "02/09/2026 12:00:00",
        "markup": f"<{MARKER}>",
        "long": MARKER * 1000,
    }
    outside = {
        "year 9999": "9999-12-31T23:59:59Z",
        "year 9999 that an offset moves out": "9999-12-31T23:59:59-14:00",
        "year 1": "0001-01-01T00:00:00Z",
        "year 1 that an offset moves out": "0001-01-01T00:00:00+14:00",
        "1970": "1970-01-01T00:00:00Z",
        "six minutes ahead": "@360@",
        "six minutes ahead behind an offset": "@50760:%Y-%m-%dT%H:%M:%S+14:00@",
        "a second older than 400 days": f"@{-400 * 86400 - 1}@",
        "401 days old": f"@{-401 * 86400}@",
    }
    at_zero = f"@0:{MICROSECONDS}@"
    taken = {
        "as the examples have it": ("@0:%Y-%m-%dT%H:%M:%S.000Z@", at_zero),
        "a small t and z": ("@0:%Y-%m-%dt%H:%M:%Sz@", at_zero),
        "a small z alone": ("@0:%Y-%m-%dT%H:%M:%Sz@", at_zero),
        "a blank in place of T": ("@0:%Y-%m-%d %H:%M:%SZ@", at_zero),
        "offset +00:00": ("@0:%Y-%m-%dT%H:%M:%S+00:00@", at_zero),
        "offset -00:00": ("@0:%Y-%m-%dT%H:%M:%S-00:00@", at_zero),
        "offset +14:00": ("@50400:%Y-%m-%dT%H:%M:%S+14:00@", at_zero),
        "offset -12:00": ("@-43200:%Y-%m-%dT%H:%M:%S-12:00@", at_zero),
        "offset +23:59": ("@86340:%Y-%m-%dT%H:%M:%S+23:59@", at_zero),
        "offset -23:59": ("@-86340:%Y-%m-%dT%H:%M:%S-23:59@", at_zero),
        "offset +05:45": ("@20700:%Y-%m-%dT%H:%M:%S+05:45@", at_zero),
        "four minutes ahead": ("@240@", f"@240:{MICROSECONDS}@"),
        "nearly 400 days old": (f"@{-400 * 86400 + 120}@", f"@{-400 * 86400 + 120}:{MICROSECONDS}@"),
        "just before midnight": ("@-86400:%Y-%m-%dT23:59:59.999999Z@", "@-86400:%Y-%m-%dT23:59:59.999999Z@"),
        "just after midnight": ("@-86400:%Y-%m-%dT00:00:00.000001Z@", "@-86400:%Y-%m-%dT00:00:00.000001Z@"),
        **{
            f"{digits} digits of a second": (
                f"@-60:%Y-%m-%dT%H:%M:%S.{'123456'[:digits]}Z@",
                f"@-60:%Y-%m-%dT%H:%M:%S.{'123456'[:digits]:0<6}Z@",
            )
            for digits in range(1, 7)
        },
        "7 digits of a second, rounded": ("@-60:%Y-%m-%dT%H:%M:%S.1234565Z@", "@-60:%Y-%m-%dT%H:%M:%S.123457Z@"),
        "8 digits of a second, rounded": ("@-60:%Y-%m-%dT%H:%M:%S.12345649Z@", "@-60:%Y-%m-%dT%H:%M:%S.123456Z@"),
        "9 digits of a second, rounded": ("@-60:%Y-%m-%dT%H:%M:%S.123456501Z@", "@-60:%Y-%m-%dT%H:%M:%S.123457Z@"),
        "9 digits that round into the next day": (
            "@-86400:%Y-%m-%dT23:59:59.999999999Z@",
            "@0:%Y-%m-%dT00:00:00.000000Z@",
        ),
        # Not of RFC 3339, but of one meaning only.
        "an offset without its colon": ("@3600:%Y-%m-%dT%H:%M:%S+0100@", at_zero),
    }
    rows = [
        _refused(f"timestamp: {name}", "/timestamp bad_timestamp", timestamp=f'"{text}"')
        for name, text in wrong.items()
    ]
    rows += [
        _refused(f"timestamp: {name}", "/timestamp timestamp_out_of_range", timestamp=f'"{text}"')
        for name, text in outside.items()
    ]
    rows += [_taken(f"timestamp: {name}", time=time, timestamp=f'"{text}"') for name, (text, time) in taken.items()]
    for name, literal in {
        "a number": "@0:%s@",
        "null": "null",
        "true": "true",
        "a list": '["@0@"]',
        "an object": "{}",
    }.items():
        rows.append(_refused(f"timestamp: {name}", "/timestamp bad_type", timestamp=literal))
    rows.append(_refused("timestamp: missing", "/timestamp missing_field", without=("timestamp",)))
    return rows


def _member_rows(kind: Kind) -> list[Row]:
    about = f"{kind.name} members:"
    other = KINDS[(kind.number + 1) % len(KINDS)]
    everything = {
        kind.id_wire: "5",
        "timestamp": '"yesterday"',
        **{field.wire: '"much"' for field in kind.fields},
        "extra": "1",
    }
    return [
        _refused(f"{about} one too many", "/color unknown_field", kind, color=f'"{MARKER}"'),
        _refused(f"{about} a name that is no name", " unknown_field", kind, **{rf"{MARKER} \n<b>": "1"}),
        _refused(f"{about} an empty name", " unknown_field", kind, **{"": "1"}),
        _refused(f"{about} a column's name", f"/{kind.id_column} unknown_field", kind, **{kind.id_column: '"A"'}),
        _refused(f"{about} __proto__", "/__proto__ unknown_field", kind, __proto__="{}"),
        Row(
            name=f"{about} all of them wrong",
            path=ingest_path(kind),
            body=reading(kind, **everything),
            status=400,
            code="invalid_reading",
            errors=(
                "/extra unknown_field",
                f"/{kind.id_wire} bad_type",
                "/timestamp bad_timestamp",
                *(f"/{field.wire} bad_type" for field in kind.fields),
            ),
        ),
        Row(
            name=f"{about} those of another kind",
            path=ingest_path(kind),
            body=reading(other),
            status=400,
            code="invalid_reading",
            errors=(
                *(f"/{name} unknown_field" for name in (other.id_wire, *(field.wire for field in other.fields))),
                *(f"/{name} missing_field" for name in (kind.id_wire, *(field.wire for field in kind.fields))),
            ),
        ),
    ]


ROWS = (
    *(row for kind in KINDS for field in kind.fields for row in _value_rows(kind, field)),
    *(row for kind in KINDS for row in _id_rows(kind)),
    *(row for kind in KINDS for row in _member_rows(kind)),
    *_time_rows(),
)
