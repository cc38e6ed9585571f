"""The metrics of a writer; `hseie.metrics` has the others and says how they are written."""

from hseie.histogram import READINGS
from hseie.metric_types import MS, counter, gauge, histogram, states

WRITER = (
    counter(
        "hseie_writer_readings_received_total",
        "kinds.{kind}.received",
        "Readings taken from acceptors, exact re-sends among them.",
    ),
    counter("hseie_writer_readings_duplicates_total", "kinds.{kind}.duplicates", "Of these, exact re-sends."),
    counter(
        "hseie_writer_readings_stored_total",
        "kinds.{kind}.stored",
        "Readings committed to history by this life of the writer, what it found in its journal among them.",
    ),
    counter("hseie_writer_dead_letters_total", "kinds.{kind}.dead_lettered", "Readings parked in `dead_letter`."),
    gauge("hseie_writer_readings_waiting", "kinds.{kind}.waiting", "Readings in the journal and in no flush yet."),
    gauge("hseie_writer_readings_active", "kinds.{kind}.active", "Readings in the flush that runs."),
    counter("hseie_writer_frames_total", "frames", "Frames journaled and acknowledged."),
    counter("hseie_writer_frames_refused_total", "frames_refused.{reason}", "Frames that were not taken."),
    counter("hseie_writer_messages_refused_total", "messages_refused", "Messages to it that were not ours."),
    counter(
        "hseie_writer_messages_unsent_total", "messages_unsent", "Messages for an acceptor that is gone, or too busy."
    ),
    states(
        "hseie_writer_journal_state", "journal", "1 for how the journal is.", "ok", "full", "disk_full", "slow", "stuck"
    ),
    histogram("hseie_writer_journal_sync_seconds", "sync_seconds", "Commit and sync of one group of frames."),
    gauge(
        "hseie_writer_journal_sync_under_way_seconds",
        "sync_under_way_ms",
        "How long the sync has been taking that is not finished; 0 without one.",
        MS,
    ),
    gauge("hseie_writer_gathering_bytes", "gathering_bytes", "Frames that arrived and wait for their sync."),
    gauge(
        "hseie_writer_gathering_limit_bytes",
        "limits.gathering_bytes",
        "Limit: `writer.gathering_bytes_max`; above it 503 `overloaded`.",
    ),
    gauge("hseie_writer_journal_bytes", "journal_bytes", "Frames in the journal: not committed, or kept for dedupe."),
    gauge(
        "hseie_writer_journal_limit_bytes",
        "limits.journal_bytes",
        "Limit: `writer.journal_bytes_max`; above it 503 `journal_full`, until there is some room again.",
    ),
    gauge(
        "hseie_writer_journal_low_water_bytes",
        "limits.journal_low_water_bytes",
        "Limit: `writer.journal_low_water_pct` of it; a full journal takes readings again below it.",
    ),
    gauge("hseie_writer_journal_frames", "journal_frames", "The same in frames."),
    gauge(
        "hseie_writer_journal_drain_bytes_per_second",
        "journal_drain_bytes_per_s",
        "How fast the journal has lately been emptied, which makes the Retry-After of its 503s.",
    ),
    gauge("hseie_writer_journal_disk_free_bytes", "disk_free_bytes", "Free room on the journal's disk."),
    gauge(
        "hseie_writer_journal_disk_floor_bytes",
        "limits.disk_free_bytes",
        "Limit: `writer.disk_free_bytes_min`; below it 503 `disk_full`.",
    ),
    gauge("hseie_writer_journal_last_sequence", "journal_seq", "Sequence of the newest durable frame."),
    gauge("hseie_writer_committed_sequence", "committed_seq", "Sequence of the newest frame in PostgreSQL."),
    gauge("hseie_writer_epoch", "epoch", "Its life's number in the checkpoint; 0 before it has been there."),
    states(
        "hseie_writer_database_state",
        "database",
        "1 for how flushing goes; all but `ok` are pages of the runbook.",
        *("ok", "away", "locked", "schema", "refusing"),
    ),
    counter("hseie_writer_flushes_total", "flushes", "Flushes committed."),
    counter(
        "hseie_writer_flush_failures_total",
        "flush_failures.{reason}",
        "Attempts to connect or flush that failed and are made again, by the class of the error.",
    ),
    histogram("hseie_writer_flush_seconds", "flush_seconds", "One flush, from its begin to the answer to its commit."),
    gauge(
        "hseie_writer_flush_timeout_seconds",
        "limits.flush_timeout_ms",
        "Limit: `postgres.flush_timeout_ms`; the same is then tried in smaller batches.",
        MS,
    ),
    gauge(
        "hseie_writer_lock_timeout_seconds",
        "limits.lock_timeout_ms",
        "Limit: `postgres.lock_timeout_ms` a flush waits for a lock; counted as a failure, `retry`.",
        MS,
    ),
    histogram("hseie_writer_flush_readings", "flush_readings", "Readings of one flush.", READINGS),
    gauge("hseie_writer_pending_bytes", "pending_bytes", "Readings kept in memory for the next flush."),
    gauge(
        "hseie_writer_pending_limit_bytes",
        "limits.pending_bytes",
        "Limit: `writer.pending_bytes_max`; above it they are read back from the journal.",
    ),
    gauge("hseie_writer_behind", "behind", "1 while batches are read back from the journal."),
    gauge("hseie_writer_dedupe_readings", "dedupe_readings", "Readings remembered to recognise re-sends."),
    gauge(
        "hseie_writer_dedupe_limit_readings",
        "limits.dedupe_readings",
        "Limit: `ingest.dedupe_readings_max`; at it the older half is forgotten.",
    ),
    gauge(
        "hseie_writer_dedupe_window_seconds",
        "limits.dedupe_window_s",
        "Limit: `ingest.dedupe_window_s`, how long they are remembered at least if they are not too many.",
    ),
    gauge("hseie_writer_state_devices", "state_devices", "Devices whose newest committed time is known."),
    gauge(
        "hseie_writer_state_devices_limit",
        "limits.state_devices",
        "Limit: `writer.state_devices_max`; above it all are forgotten.",
    ),
    gauge("hseie_writer_recent_dead_letters", "refused_lately", "Readings parked within the last minute."),
    gauge(
        "hseie_writer_recent_dead_letters_limit",
        "limits.dead_letters",
        "Limit: `writer.dead_letters_max`; above it flushing stops (`refusing`).",
    ),
)
