"""The schemas of the OpenAPI description, made from the declarations in `readings`, `answers` and `problems`."""

from typing import Any

import msgspec

from hseie import answers
from hseie.problems import PROBLEMS, ErrorItem
from hseie.readings import ID_PATTERN, KINDS, Field, Kind

Schema = dict[str, Any]
TIME: Schema = {"type": "string", "format": "date-time"}
_REF = "#/components/schemas/{name}"
_DEAD_LETTERED: Schema = {
    "type": "integer",
    "description": "of a request that waited: readings that PostgreSQL refused, kept as dead letters for an operator",
}


def reference(name: str) -> Schema:
    """Return a reference to one of `schemas()`."""
    return {"$ref": _REF.format(name=name)}


def schemas() -> dict[str, Schema]:
    """Return all of them by name."""
    _, made = msgspec.json.schema_components((*answers.SCHEMAS, ErrorItem), ref_template=_REF)
    found: dict[str, Schema] = dict(made)
    for kind in KINDS:
        found |= _kind_schemas(kind)
    found["QueueStats"] = _object(
        {f"{kind.name}Queue": reference("QueueCounts") for kind in KINDS},
        optional={
            "missingShards": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "shards whose writer is away, so that what waits in their journals is not counted",
            }
        },
    )
    found["BatchAccepted"] = _object(
        {
            "accepted": {"type": "integer"},
            "duplicates": {"type": "integer"},
            "rejected": {"type": "integer"},
            "mode": {"type": "string", "enum": ["queued", "direct"]},
            "jobIds": {"type": "array", "items": {"type": "string"}},
            "errors": {"type": "array", "items": reference("ErrorItem")},
        },
        {
            "rejectedIndexes": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "all, where `errors` is cut",
            },
            "deadLettered": _DEAD_LETTERED,
        },
    )
    found["Problem"] = _object(
        {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(PROBLEMS)},
            "detail": {"type": "string"},
        },
        optional={"errors": {"type": "array", "items": reference("ErrorItem")}},
    )
    return dict(sorted(found.items()))


def _kind_schemas(kind: Kind) -> dict[str, Schema]:
    name = kind.name.capitalize()
    identity: Schema = {"type": "string", "pattern": ID_PATTERN}
    reading = {
        kind.id_wire: identity,
        **{field.wire: _field(field) for field in kind.fields},
        "timestamp": {**TIME, "description": "RFC 3339 with an offset"},
    }
    bucket = {
        "timestamp": {**TIME, "description": "start of the bucket"},
        "readings": {"type": "integer"},
        **{field.wire: _bucket_field(field) for field in kind.fields},
    }
    return {
        f"{name}Reading": {**_object(reading), "additionalProperties": False},
        f"{name}Bucket": _object(bucket),
        f"{name}Current": _object({**reading, "updatedAt": {**TIME, "description": "when it was stored"}}),
        f"{name}Page": _object(
            {
                "readings": {
                    "type": "array",
                    "items": {"anyOf": [reference(f"{name}Reading"), reference(f"{name}Bucket")]},
                },
                "next": {"type": ["string", "null"], "description": "cursor of the next page"},
            }
        ),
        f"{name}Accepted": _object(
            {
                "success": {"const": True},
                kind.id_wire: identity,
                "timestamp": TIME,
                "mode": {"type": "string", "enum": ["queued", "direct"]},
                "jobId": {"type": "string"},
            },
            {
                "duplicate": {"const": True, "description": "an exact re-send: acknowledged, and stored before"},
                "deadLettered": _DEAD_LETTERED,
            },
        ),
    }


def _field(field: Field) -> Schema:
    most = "exclusiveMaximum" if field.maximum_excluded else "maximum"
    return {
        "type": "number",
        "minimum": field.minimum,
        most: field.maximum,
        "description": f"{field.meaning}, in {field.unit}; kept with {field.scale} decimals",
    }


def _bucket_field(field: Field) -> Schema:
    number: Schema = {"type": "number"}
    if field.unit == "kWh":
        return {**number, "description": "sum in kWh"}
    return _object({"avg": number, "min": number, "max": number})


def _object(members: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": {**members, **(optional or {})}, "required": list(members)}
