"""Every metric of a node, declared once: its name, what it means, and where in the node's reports its value stands.

The page `GET /metrics` and docs/METRICS.md are made from `METRICS`. A figure that a process adds to its heartbeat needs
one row here and nothing else; one that a process does not report (yet) is left out of the page.

Names follow Prometheus' rules: base units, `_total` for what only grows. No label holds anything of a device.
"""

from hseie.metric_types import MS, Metric, counter, gauge, histogram, states
from hseie.metrics_archive import ARCHIVE
from hseie.metrics_writer import WRITER


def _of_keys(role: str) -> tuple[Metric, ...]:
    """What every process with an HTTP server tells of the API keys."""
    name = f"hseie_{role}_keys"
    return (
        gauge(name, "keys", "API keys it knows; 0 where `auth.mode` is none."),
        gauge(f"{name}_limit", "limits.keys", "Limit: 4,096 (`key_text.py`); above it no more are made."),
        gauge(f"{name}_stale", "keys_stale", "1 while their file cannot be read; those read last are in force."),
        gauge(f"{name}_age_seconds", "keys_age_s", "Since their file was last looked at and could be read."),
        gauge(f"{name}_devices", "keys_devices", "Devices it remembers as admitted, over all keys."),
        gauge(
            f"{name}_devices_limit",
            "limits.keys_devices",
            "Limit: 500,000 (`admission.py`); above it all are forgotten.",
        ),
    )


def _https(role: str) -> tuple[Metric, ...]:
    """Return the metrics of a role's HTTPS."""
    return (
        gauge(
            f"hseie_{role}_certificate_expiry_time_seconds",
            "certificate_expires_at",
            "When the TLS certificate in use expires, Unix time; 0 for plain HTTP.",
        ),
        gauge(
            f"hseie_{role}_certificate_stale",
            "certificate_stale",
            "1 while a renewed certificate cannot be used; the former one is in use.",
        ),
        gauge(f"hseie_{role}_handshakes", "handshakes", "TLS handshakes under way; each has 10 s (`handshakes.py`)."),
        counter(
            f"hseie_{role}_handshakes_failed_total",
            "handshakes_failed",
            "Handshakes that failed: no TLS, too old, no good certificate of the client, gone, or too slow.",
        ),
    )


NODE = (
    Metric("info", "hseie_node_info", "", "Always 1: version, and whose PostgreSQL.", names=("version", "postgres")),
    states("hseie_node_state", "state", "1 for what the node is doing.", "starting", "ready", "draining"),
    states(
        "hseie_node_access_state",
        "access",
        "1 for who may use the node: who has a key or a certificate, programs on this machine, or everybody.",
        *("keys", "certificates", "this_machine", "everybody"),
    ),
    gauge("hseie_node_start_time_seconds", "started_at", "When the node was started, Unix time."),
    gauge("hseie_node_supervisor_up", "supervisor_up", "1 if the supervisor answers; at 0 nothing else is known."),
    gauge("hseie_node_postgres_up", "postgres_up", "1 if PostgreSQL answers a connection of its own within a second."),
    gauge("hseie_node_ready", "ready", "1 if `/readyz` is content: PostgreSQL, every shard, an acceptor, journals."),
)

PROCESS = (
    gauge("hseie_process_up", "up", "1 while the process is ready; 0 while it starts, drains or is down."),
    states(
        "hseie_process_state",
        "state",
        "1 for the state in which the supervisor sees it.",
        *("starting", "ready", "draining", "down", "given_up"),
    ),
    counter("hseie_process_restarts_total", "restarts", "Starts after the first one."),
    gauge("hseie_process_last_exit_code", "last_exit.code", "How its former life ended: exit code, minus a signal."),
    gauge("hseie_process_last_exit_time_seconds", "last_exit.at", "When that was, Unix time."),
    gauge("hseie_process_uptime_seconds", "uptime_s", "Age of its present life; 0 while it is down."),
    gauge("hseie_process_heartbeat_age_seconds", "heartbeat_age_ms", "Since its last sign of life.", MS),
    counter("hseie_process_cpu_seconds_total", "cpu_s", "CPU time, user and system."),
    gauge("hseie_process_resident_memory_bytes", "rss_bytes", "Resident memory."),
    gauge("hseie_process_open_fds", "open_files", "Open file descriptors, sockets among them."),
    gauge("hseie_process_max_fds", "open_files_max", "Limit: how many there may be (`ulimit -n`)."),
    histogram(
        "hseie_process_loop_lag_seconds",
        "loop_lag",
        "How late the event loop woke for a heartbeat: what every request waits besides.",
    ),
)

ACCEPTOR = (
    counter("hseie_acceptor_requests_total", "requests", "Requests with readings, answered or not yet."),
    counter("hseie_acceptor_answers_total", "answers.{code}", "Answers to them, by HTTP status."),
    counter(
        "hseie_acceptor_problems_total",
        "problems.{reason}",
        "Answers that refuse a whole request, by the `code` they carry: who sends what is wrong, which limit is met.",
    ),
    counter("hseie_acceptor_readings_total", "readings", "Readings in requests that could be parsed."),
    counter("hseie_acceptor_readings_accepted_total", "accepted", "Of these, acknowledged and new."),
    counter("hseie_acceptor_readings_duplicates_total", "duplicates", "Of these, acknowledged as exact re-sends."),
    counter("hseie_acceptor_readings_rejected_total", "rejected", "Of these, refused for what they hold."),
    counter(
        "hseie_acceptor_reading_errors_total",
        "reading_errors.{reason}",
        "What was wrong in refused readings, by the `code` of the error; an answer names, and this counts, up to 100.",
    ),
    counter("hseie_acceptor_passed_on_total", "passed_on.{code}", "Requests passed on to analytics, by HTTP status."),
    *_of_keys("acceptor"),
    gauge("hseie_acceptor_connections", "connections", "Open connections, idle ones too."),
    counter(
        "hseie_acceptor_connections_ended_total",
        "connections_ended.{reason}",
        "Connections that it ended: no HTTP, a head too large or too slow, no word, answers not read, one too many.",
    ),
    gauge(
        "hseie_acceptor_connections_limit",
        "limits.connections",
        "Limit: `http.connections_max`, or what open files allow; above it 503 `overloaded`, and closed.",
    ),
    gauge("hseie_acceptor_bodies_bytes", "bodies_bytes", "Bytes of bodies that are not whole yet."),
    gauge(
        "hseie_acceptor_bodies_limit_bytes",
        "limits.bodies_bytes",
        "Limit: `http.bodies_bytes_max`; above it 503 `overloaded`.",
    ),
    gauge("hseie_acceptor_requests_in_flight", "in_flight", "Requests that wait for their acknowledgement."),
    gauge(
        "hseie_acceptor_requests_in_flight_limit",
        "limits.requests_in_flight",
        "Limit: `http.requests_in_flight_max`; above it 503 `overloaded`.",
    ),
    counter("hseie_acceptor_frames_sent_total", "frames_sent", "Frames sent to writers."),
    gauge("hseie_acceptor_frames_in_flight", "frames_in_flight", "Frames sent and not acknowledged yet."),
    gauge("hseie_acceptor_in_flight_bytes", "in_flight_bytes", "Bytes of these frames."),
    gauge(
        "hseie_acceptor_shard_frames_in_flight",
        "fullest_link.frames_in_flight",
        "Frames sent and not acknowledged, to the one shard that has most.",
    ),
    gauge(
        "hseie_acceptor_shard_frames_in_flight_limit",
        "limits.frames_in_flight",
        "Limit: `ingest.frames_in_flight_max`; at it the next frame waits and grows.",
    ),
    gauge("hseie_acceptor_waiting_bytes", "waiting_bytes", "Bytes of readings that wait for a frame to be sent."),
    gauge(
        "hseie_acceptor_shard_bytes",
        "fullest_link.bytes",
        "Bytes that wait or are under way, for the one shard that has most.",
    ),
    gauge(
        "hseie_acceptor_shard_limit_bytes",
        "limits.shard_bytes",
        "Limit: `ingest.frame_bytes_max`; above it 503 `overloaded`.",
    ),
    histogram(
        "hseie_acceptor_ack_seconds",
        "ack_seconds",
        "From the sending of a frame to its acknowledgement: bus, journal with its sync, and back.",
    ),
    gauge(
        "hseie_acceptor_ack_timeout_seconds",
        "limits.ack_timeout_ms",
        "Limit: `ingest.ack_timeout_ms`; after it 503 `ack_timeout`.",
        MS,
    ),
    gauge("hseie_acceptor_writers_away", "writers_away", "Shards whose writer does not answer: 503."),
    counter(
        "hseie_acceptor_strangers_total",
        "strangers",
        "Times that a writer of another shard, or of another number of shards, was met and turned away.",
    ),
    counter("hseie_acceptor_messages_refused_total", "messages_refused", "Messages to it that were not ours."),
    counter(
        "hseie_acceptor_messages_unsent_total",
        "messages_unsent",
        "Messages for a writer that is away, or whose queue of 1,000 (`bus.py`) is full.",
    ),
    gauge("hseie_acceptor_devices", "devices", "Devices whose shard it remembers."),
    gauge(
        "hseie_acceptor_devices_limit",
        "limits.devices",
        "Limit: fixed (`acceptor/parse.py`); above it all are forgotten, which costs a CRC a device.",
    ),
    gauge(
        "hseie_acceptor_body_limit_bytes",
        "limits.body_bytes",
        "Limit: `http.body_bytes_max`; above it 413, counted as `too_large`.",
    ),
    gauge(
        "hseie_acceptor_head_timeout_seconds",
        "limits.head_timeout_s",
        "Limit: `http.head_timeout_s`; after it the connection is closed, a head that was begun with 408.",
    ),
    gauge(
        "hseie_acceptor_body_timeout_seconds",
        "limits.body_timeout_s",
        "Limit: `http.body_timeout_s`; after it 408, counted as `request_timeout`.",
    ),
    gauge(
        "hseie_acceptor_keepalive_seconds",
        "limits.keepalive_s",
        "Limit: `http.keepalive_s`; an idle connection is closed after it.",
    ),
    gauge(
        "hseie_acceptor_batch_limit_readings",
        "limits.batch_readings",
        "Limit: `http.batch_readings_max`; above it 413, counted as `batch_too_large`.",
    ),
    *_https("acceptor"),
)

ANALYTICS = (
    gauge("hseie_analytics_connections", "connections", "Open HTTP connections, those of acceptors among them."),
    counter(
        "hseie_analytics_connections_ended_total",
        "connections_ended.{reason}",
        "Connections that it ended: no HTTP, a head too large or too slow, no word, answers not read, one too many.",
    ),
    gauge(
        "hseie_analytics_connections_limit",
        "limits.connections",
        "Limit: `http.connections_max`, or what open files allow; above it 503 `overloaded`, and closed.",
    ),
    counter("hseie_analytics_refused_total", "refused.{reason}", "Requests turned away at the door, by `code`."),
    *_of_keys("analytics"),
    counter("hseie_analytics_queries_total", "queries.{outcome}", "Queries for routes, by how they ended."),
    histogram("hseie_analytics_query_seconds", "query_seconds", "Those answered, waiting for a connection included."),
    gauge("hseie_analytics_queries_in_flight", "queries_in_flight", "Queries that run or wait for a connection."),
    gauge(
        "hseie_analytics_queries_in_flight_limit",
        "limits.queries_in_flight",
        "Limit: 51 times the connections of three pools, twice `analytics.connections` and 2 for the current states. "
        "Above that of one of them 503 `overloaded`.",
    ),
    *_https("analytics"),
    gauge("hseie_analytics_live_listeners", "live_listeners", "Listeners to `/v1/live`, dashboards mostly."),
    gauge(
        "hseie_analytics_live_listeners_limit",
        "limits.live_listeners",
        "Limit: fixed (`analytics/live.py`); above it 503 `overloaded`.",
    ),
)

MAINTENANCE = (
    counter("hseie_maintenance_rounds_total", "rounds", "Rounds finished."),
    counter("hseie_maintenance_partitions_made_total", "partitions_made", "Day partitions made ahead of time."),
    gauge(
        "hseie_maintenance_partitions_postponed",
        "partitions_postponed",
        "Of the latest round: days left for the next, because somebody held a lock.",
    ),
    gauge("hseie_maintenance_partitions_foreign", "partitions_foreign", "Partitions made by hand: not those of a day."),
    counter("hseie_maintenance_vacuums_total", "vacuums", "Day partitions vacuumed after their day."),
    counter("hseie_maintenance_vacuum_seconds_total", "vacuum_s", "Time that took."),
    gauge(
        "hseie_maintenance_vacuums_postponed",
        "vacuums_postponed",
        "Of the latest round: partitions left for the next, because somebody held a lock.",
    ),
    gauge(
        "hseie_maintenance_rollup_lag_seconds",
        "rollup_lag_s",
        "Since the end of the last hour that is rolled up: up to an hour and `maintenance.rollup_lag_s` is normal.",
    ),
    gauge("hseie_maintenance_rollup_closing_seconds", "rollup_closing_s", "How long the latest roll-up took."),
    gauge(
        "hseie_maintenance_rollup_marks_waiting",
        "rollup_marks",
        "Marks of late readings and changed pairs that wait; counted up to 100,000.",
    ),
    counter("hseie_maintenance_rollup_marks_total", "rollup_marks_consumed", "Marks consumed."),
    counter(
        "hseie_maintenance_rollup_hours_remade_total",
        "rollup_hours_remade",
        "Hours of devices and pairs made anew.",
    ),
    counter(
        "hseie_maintenance_rollup_hours_left_total",
        "rollup_hours_left",
        "Hours left as they were in spite of a mark, because their readings have been given up (`retention.then`).",
    ),
    counter("hseie_maintenance_rollup_rows_deleted_total", "rollup_rows_deleted", "Rollups deleted for their age."),
    gauge(
        "hseie_maintenance_rollup_archive_away",
        "rollup_archive_away",
        "1 while rollups wait for archived days that cannot be read.",
    ),
    states(
        "hseie_maintenance_trouble_state", "trouble", "1 for what is wrong.", "database_away", "database_not_usable"
    ),
    *ARCHIVE,
)

METRICS: tuple[Metric, ...] = (*NODE, *PROCESS, *ACCEPTOR, *WRITER, *ANALYTICS, *MAINTENANCE)
