-- Days that have left history: to Parquet files, or for good. A row a kind, UTC day and part; a day has more than one
-- part where readings of it came after the first was written.
--
-- state: 'written'   the file is complete, synced and verified; its rows are still in history too
--        'archived'  the same rows are no longer in history
--        'restored'  they are in history again, until `restored_until`; the file stays
--        'dropped'   given up by retention.then = "drop"; there is no file, and rollups are all that is known
-- Queries read the files of 'written' and 'archived'. A row that is in both is one row: it has one id.
CREATE TABLE archive_part (
    kind text NOT NULL,
    day date NOT NULL,
    part integer NOT NULL,
    state text NOT NULL CHECK (state IN ('written', 'archived', 'restored', 'dropped')),
    file text NOT NULL DEFAULT '',  -- relative to the archive's folder
    readings bigint NOT NULL,
    bytes bigint NOT NULL DEFAULT 0,
    sums jsonb NOT NULL DEFAULT '{}',  -- column to exact sum as text
    sha256 text NOT NULL DEFAULT '',
    -- What the day books counted for the kind and day when the part was written. While they say the same, nothing has
    -- come since, and the day may be dropped from history.
    booked bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    restored_until timestamptz,
    PRIMARY KEY (kind, day, part)
);
