-- One row a journal: up to which frame its readings are committed, and who may move it. A flush moves it in its own
-- transaction on condition of epoch and previous sequence; where no row moves, another writer owns the journal. `owner` is the token of that writer's life.
CREATE TABLE shard_checkpoint (
    journal_id uuid PRIMARY KEY,
    shard integer NOT NULL,
    shards integer NOT NULL,
    epoch bigint NOT NULL,
    owner uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- The books: received = stored + duplicates + dead_lettered, counted in the transaction that stores.
CREATE TABLE shard_book (
    journal_id uuid NOT NULL REFERENCES shard_checkpoint,
    kind text NOT NULL,
    received bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (journal_id, kind)
) WITH (fillfactor = 50);

-- Rows that PostgreSQL refused, with the reason and the original line of COPY text.
CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal_id uuid NOT NULL,
    kind text NOT NULL,
    original text NOT NULL,
    sqlstate text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
