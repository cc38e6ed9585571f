"""The metrics of the archive, which the maintenance process tells. See `hseie.metrics`."""

from hseie.metric_types import gauge, states

ARCHIVE = (
    gauge("hseie_maintenance_archive_parts", "archive_parts", "Files of the archive."),
    gauge("hseie_maintenance_archive_bytes", "archive_bytes", "Bytes of these files."),
    gauge(
        "hseie_maintenance_archive_readings",
        "archive_readings",
        "Readings in these files; those of days just written or restored are in PostgreSQL too.",
    ),
    gauge(
        "hseie_maintenance_archive_dropped_readings",
        "archive_dropped",
        "Readings deleted for good, as `retention.then` has it; the rollups have them.",
    ),
    gauge(
        "hseie_maintenance_archive_days_waiting",
        "archive_days_waiting",
        "Days of a kind older than `retention.raw_days` that are still in PostgreSQL.",
    ),
    states(
        "hseie_maintenance_archive_trouble_state",
        "archive_trouble",
        "1 for what keeps days in PostgreSQL; `hseie status` says it in words.",
        *("no_duckdb", "folder", "day", "damaged", "clock", "rollups_behind"),
    ),
)
