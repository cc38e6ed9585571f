-- Written into the archive's folder too: where they differ, or the folder's is not there, nothing is changed in it.
CREATE TABLE archive_identity (id uuid NOT NULL);
INSERT INTO archive_identity VALUES (gen_random_uuid());

-- Which cluster and database this is. A copy of it says something else, if it was not made from the cluster's own files.
CREATE FUNCTION hseie_archive_writer() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT system_identifier || '-' || pg_database.oid
    FROM pg_control_system(), pg_database
    WHERE datname = current_database()
$$;

-- Days that have left history: to Parquet files, or for good. A row a kind, UTC day and part; a day has more than one
-- part where readings of it came after the first was written.
--
-- state: 'written'   the file is complete, synced and verified; its rows are still in history too
--        'archived'  the same rows are no longer in history
--        'restored'  they are in history again, until `restored_until`; the file stays
--        'dropped'   given up by retention.then = "drop"; there is no file, and rollups are all that is known
-- Queries read the files of all but 'dropped'. A row that is in both is one row: it has one id.
CREATE TABLE archive_part (
    kind text NOT NULL CHECK (kind IN ('meter', 'vehicle')),
    day date NOT NULL,
    part integer NOT NULL,
    state text NOT NULL CHECK (state IN ('written', 'archived', 'restored', 'dropped')),
    file text NOT NULL DEFAULT '',  -- relative to the archive's folder
    readings bigint NOT NULL,
    bytes bigint NOT NULL DEFAULT 0,
    oldest timestamptz,  -- the time of its first reading
    sums jsonb NOT NULL DEFAULT '{}',  -- column to exact sum as text
    sha256 text NOT NULL DEFAULT '',
    -- What the day books counted for the kind and day when the part was written. While they say the same, nothing has
    -- come since, and the day may be dropped from history.
    booked bigint NOT NULL,
    written_by text NOT NULL DEFAULT hseie_archive_writer(),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    restored_until timestamptz,
    PRIMARY KEY (kind, day, part)
);

-- Files that were written and that no part names: not yet, or not any more. Only these are ever removed, and only by the
-- database that wrote them: a copy of a database has its own parts, and may have the same folder.
CREATE TABLE archive_unnamed (
    file text PRIMARY KEY,  -- relative to the archive's folder
    kind text NOT NULL,
    day date NOT NULL,
    written_by text NOT NULL DEFAULT hseie_archive_writer()
);

-- Keeps writers out of the partition of a kind and UTC day until the end of the transaction; readers go on. What is
-- counted in a later statement stays so. The caller sets lock_timeout.
CREATE FUNCTION hseie_hold_partition(kind text, day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', kind || '_history' || to_char(day, '_YYYY_MM_DD'));
END
$$;

-- Drops the partition of a kind and UTC day, which the caller holds. Its parent is locked for the moment that takes,
-- against everybody: the caller sets a short lock_timeout, because all who come meanwhile wait behind it.
CREATE FUNCTION hseie_drop_partition(kind text, day date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', kind || '_history');
    EXECUTE format('DROP TABLE %I', kind || '_history' || to_char(day, '_YYYY_MM_DD'));
END
$$;
