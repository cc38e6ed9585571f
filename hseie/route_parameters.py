"""Parameters of the routes that answer for the fleet, and of all that can answer with CSV."""

from hseie.route import Parameter

FORMAT = Parameter(
    "format",
    "JSON, or CSV to save as a file; counts more than `Accept`, which may ask for `text/csv` too",
    {"type": "string", "enum": ["json", "csv"]},
)
WINDOW_OF_FLEET = Parameter(
    "window",
    "length of the latest closed hours whose energies are added up, like 24h or 7d: 1h at least, and no longer than "
    "readings may be old",
    {"type": "string", "pattern": "^[1-9][0-9]{0,5}[mhd]$", "examples": ["24h"]},
)
ALERTS = (
    Parameter("limit", "most entries of each list", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    Parameter(
        "threshold",
        "percent of DC to AC below which a pair is reported; else that of the configuration",
        {"type": "number", "minimum": 0, "maximum": 1000, "examples": [90]},
    ),
    FORMAT,
    Parameter(
        "of", "which list CSV holds; JSON has both", {"type": "string", "enum": ["pairs", "silent"], "default": "pairs"}
    ),
)
