"""The routes of pairings, declared once; `hseie.route_table` has all the others."""

from hseie.openapi_schemas import TIME, device_id, reference
from hseie.readings import METER, VEHICLE
from hseie.route import Parameter, Route

STATES = ("current", "planned", "ended", "all")
LIMIT_DEFAULT = 1000
LIMIT_MAX = 10_000

_PATH = "/v1/pairs/{vehicleId}"
_CHANGE_PROBLEMS = ("pair_conflict", "database_unavailable", "overloaded")

PAIR_ROUTES: tuple[Route, ...] = (
    Route(
        "get",
        "/v1/pairs",
        "analytics",
        "pairs",
        "Which meter feeds which vehicle when, where the ids do not say it; by vehicle and start, page by page",
        {200: reference("PairPage")},
        ("bad_parameter", "database_unavailable", "overloaded"),
        (
            Parameter("vehicleId", "only of this vehicle", device_id(VEHICLE)),
            Parameter("meterId", "only with this meter", device_id(METER)),
            Parameter(
                "state",
                "those that run, that begin later, that have ended, or all of them",
                {"type": "string", "enum": list(STATES), "default": "current"},
            ),
            Parameter(
                "limit",
                "most entries of a page",
                {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
            ),
            Parameter(
                "cursor",
                "`next` of the page before, opaque, with otherwise the same parameters",
                {"type": "string", "pattern": "^[A-Za-z0-9_-]{16,100}$"},
            ),
        ),
        headers=((200, "Link"),),
        scope="read",
    ),
    Route(
        "put",
        _PATH,
        "analytics",
        "pairs",
        "Pair a vehicle with the meter that feeds it; ends what ran until then. May be asked for again",
        {200: reference("PairChange")},
        ("invalid_pair", "bad_json", "bad_parameter", "too_large", "unsupported_media_type", *_CHANGE_PROBLEMS),
        document="PairRequest",
        scope="admin",
    ),
    Route(
        "delete",
        _PATH,
        "analytics",
        "pairs",
        "End the pairing of a vehicle that runs; after that the ids count",
        {200: reference("PairChange")},
        ("unknown_pair", "bad_parameter", *_CHANGE_PROBLEMS),
        (Parameter("at", "when it ends, now where it is not there; at its start: it is undone", TIME),),
        scope="admin",
    ),
)
