"""The schemas of the OpenAPI description, made from the declarations in `readings`, `answers` and `problems`.

Readings are strict: what is sent may have no member that is not described. Answers are open: a later version may add
members and codes, so a client has to ignore those it does not know.
"""

from typing import Any

import msgspec

from hseie import answers, pair_answers
from hseie.alert_answers import Alerts
from hseie.problems import ERRORS_MAX, ITEM_CODES, PROBLEMS, ErrorItem
from hseie.readings import ID_LENGTH_MAX, ID_PATTERN, KINDS, Field, Kind

Schema = dict[str, Any]
TIME: Schema = {"type": "string", "format": "date-time"}
COUNT: Schema = {"type": "integer", "minimum": 0}
# Fixed, so that the description is the same at every start. It is the one of the README.
EXAMPLE_TIME = "2026-02-09T12:00:00.000Z"
EXAMPLE_JOB = "3-81244"

_REF = "#/components/schemas/{name}"
_MODE: Schema = {
    "type": "string",
    "enum": ["queued", "direct"],
    "description": "`queued`: safe in the journal; `direct`: committed in PostgreSQL",
}
_JOB_ID: Schema = {"type": "string", "pattern": f"^{answers.JOB_ID_PATTERN}$", "description": "receipt, to ask about"}
_DEAD_LETTERED: Schema = {
    **COUNT,
    "description": "of a request that waited: readings that PostgreSQL refused, kept as dead letters for an operator",
}


def reference(name: str) -> Schema:
    """Return a reference to one of `schemas()`."""
    return {"$ref": _REF.format(name=name)}


def device_id(kind: Kind) -> Schema:
    """Return the schema of the id of a device of `kind`."""
    return {
        "type": "string",
        "pattern": ID_PATTERN,
        "minLength": 1,
        "maxLength": ID_LENGTH_MAX,
        "description": f"id of the {kind.name}",
        "examples": [kind.example_id],
    }


def example_reading(kind: Kind) -> dict[str, Any]:
    """Return a reading as the documentation shows it."""
    values = {field.wire: field.example for field in kind.fields}
    return {kind.id_wire: kind.example_id, **values, "timestamp": EXAMPLE_TIME}


def schemas(batch_readings_max: int) -> dict[str, Schema]:
    """Return all of them by name; a batch has at most `batch_readings_max` readings."""
    _, made = msgspec.json.schema_components((*answers.SCHEMAS, *pair_answers.SCHEMAS, Alerts), ref_template=_REF)
    found: dict[str, Schema] = dict(made)
    for kind in KINDS:
        found |= _kind_schemas(kind)
    found["Reading"] = {
        "description": "A reading of any kind, told by its id field.",
        "oneOf": [reference(f"{kind.name.capitalize()}Reading") for kind in KINDS],
    }
    for name in ("Reading", *(f"{kind.name.capitalize()}Reading" for kind in KINDS)):
        found[f"{name}s"] = {
            "type": "array",
            "items": reference(name),
            "minItems": 1,
            "maxItems": batch_readings_max,
            "description": "A batch; one array, or in NDJSON one item a line.",
        }
    found["QueueStats"] = _object(
        {f"{kind.name}Queue": reference("QueueCounts") for kind in KINDS},
        {
            "missingShards": {
                "type": "array",
                "items": COUNT,
                "description": "shards whose writer is away, so that what waits in their journals is not counted",
            }
        },
    )
    found["BatchAccepted"] = _batch_accepted()
    found["ErrorItem"] = _error_item()
    found["Problem"] = _problem()
    return dict(sorted(found.items()))


def _kind_schemas(kind: Kind) -> dict[str, Schema]:
    name = kind.name.capitalize()
    identity = device_id(kind)
    sent = {
        kind.id_wire: identity,
        **{field.wire: _field(field) for field in kind.fields},
        "timestamp": {
            **TIME,
            "description": "when it was measured: RFC 3339 with an offset, inside of the accepted window of time",
            "examples": [EXAMPLE_TIME],
        },
    }
    stored = {
        kind.id_wire: identity,
        **{field.wire: _stored_field(field) for field in kind.fields},
        "timestamp": {**TIME, "description": "when it was measured, UTC"},
    }
    bucket = {
        "timestamp": {**TIME, "description": "start of the bucket, UTC"},
        "readings": {**COUNT, "description": "in the bucket"},
        **{field.wire: _bucket_field(field) for field in kind.fields},
    }
    rows = {"anyOf": [reference(f"{name}Stored"), reference(f"{name}Bucket")]}
    return {
        f"{name}Reading": {
            **_object(sent),
            "additionalProperties": False,
            "description": f"A reading of a {kind.name}, as it is sent.",
            "examples": [example_reading(kind)],
        },
        f"{name}Stored": {**_object(stored), "description": f"A reading of a {kind.name}, as it is kept."},
        f"{name}Bucket": _object(bucket),
        f"{name}Current": _object({**stored, "updatedAt": {**TIME, "description": "when it was stored"}}),
        f"{name}Page": _object(
            {
                "readings": {
                    "type": "array",
                    "items": rows,
                    "description": "readings where the resolution is `raw`, or else buckets",
                },
                "next": {"type": ["string", "null"], "description": "`cursor` of the next page; null on the last one"},
            }
        ),
        f"{name}Accepted": {
            **_object(
                {
                    "success": {"const": True},
                    kind.id_wire: identity,
                    "timestamp": {**TIME, "description": "of the reading, UTC"},
                    "mode": _MODE,
                    "jobId": _JOB_ID,
                },
                {
                    "duplicate": {"const": True, "description": "an exact re-send: acknowledged, and stored before"},
                    "deadLettered": _DEAD_LETTERED,
                },
            ),
            "examples": [
                {
                    "success": True,
                    kind.id_wire: kind.example_id,
                    "timestamp": EXAMPLE_TIME,
                    "mode": "queued",
                    "jobId": EXAMPLE_JOB,
                }
            ],
        },
    }


def _field(field: Field) -> Schema:
    most = "exclusiveMaximum" if field.maximum_excluded else "maximum"
    return {
        "type": "number",
        "minimum": field.minimum,
        most: field.maximum,
        "description": f"{field.meaning}, in {field.unit}; kept with {field.scale} decimals",
        "examples": [field.example],
    }


def _stored_field(field: Field) -> Schema:
    # Without bounds: what is kept was checked when it came, and by the rule of that day.
    return {"type": "number", "description": f"{field.meaning}, in {field.unit}"}


def _bucket_field(field: Field) -> Schema:
    number: Schema = {"type": "number"}
    if field.unit == "kWh":
        return {**number, "description": "sum in kWh"}
    parts = {
        "avg": number,
        "min": number,
        "max": number,
        "first": {**number, "description": "of the bucket's earliest reading"},
        "last": {**number, "description": "of its latest"},
    }
    return {**_object(parts), "description": f"in {field.unit}"}


def _batch_accepted() -> Schema:
    return {
        **_object(
            {
                "accepted": {**COUNT, "description": "new readings that were taken"},
                "duplicates": {**COUNT, "description": "exact re-sends: acknowledged, and stored before"},
                "rejected": {**COUNT, "description": "readings that were refused for ever; `errors` says why"},
                "mode": _MODE,
                "jobIds": {"type": "array", "items": _JOB_ID, "minItems": 1},
                "errors": {"type": "array", "items": reference("ErrorItem"), "maxItems": ERRORS_MAX},
            },
            {
                "rejectedIndexes": {
                    "type": "array",
                    "items": COUNT,
                    "description": "places of all refused readings, also where `errors` is cut",
                },
                "deadLettered": _DEAD_LETTERED,
            },
        ),
        "description": "What became of a batch, of which at least one reading was taken.",
    }


def _error_item() -> Schema:
    # Its own Struct, with what a reader of the description wants to know besides.
    _, made = msgspec.json.schema_components((ErrorItem,), ref_template=_REF)
    item: Schema = dict(made["ErrorItem"])
    meanings = "; ".join(f"`{code}`: {meaning}" for code, meaning in ITEM_CODES.items())
    item["description"] = "One thing that is wrong, and where."
    item["properties"] = {
        "code": {"type": "string", "enum": list(ITEM_CODES), "description": meanings},
        "detail": {"type": "string", "description": "why, for people"},
        "pointer": {
            "type": "string",
            "description": "JSON pointer into the item, or `/` and the name of a parameter; not there: all of it",
        },
        "index": {**COUNT, "description": "place of the item in the batch, from 0; not there: there is no batch"},
    }
    return item


def _problem() -> Schema:
    return {
        **_object(
            {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string", "description": "the meaning of the code"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "code": {"type": "string", "enum": sorted(PROBLEMS), "description": "for programs"},
                "detail": {"type": "string", "description": "for people"},
            },
            {
                "errors": {"type": "array", "items": reference("ErrorItem"), "maxItems": ERRORS_MAX},
                "accepted": {**COUNT, "description": "of a refused batch: 0"},
                "duplicates": {**COUNT, "description": "of a refused batch: 0"},
                "rejected": {**COUNT, "description": "of a refused batch: how many readings it had"},
                "rejectedIndexes": {"type": "array", "items": COUNT, "description": "of a refused batch: all places"},
                "checks": {
                    "type": "array",
                    "items": reference("Check"),
                    "description": "of `not_ready`: what failed, or with `?verbose` all",
                },
            },
        ),
        "description": (
            "RFC 9457. Only 429, 502, 503 and 504 may be retried, after `Retry-After`; every other one is final."
        ),
        "examples": [
            {
                "type": "about:blank",
                "title": PROBLEMS["invalid_reading"].title,
                "status": 400,
                "code": "invalid_reading",
                "detail": "The reading was refused.",
                "errors": [{"code": "out_of_range", "detail": "must be from 0 to 500 V", "pointer": "/voltage"}],
            }
        ],
    }


def _object(members: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": {**members, **(optional or {})}, "required": list(members)}
