-- Times are milliseconds since 1970, save `lease_until`, which only the database's clock reads and writes.
-- Texts of ids compare byte by byte, whatever the database's language is.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta (name, value) VALUES ('shards', '16');

-- `seq` counts commits; it is there so that the check of the epoch is a write, which two owners cannot both do.
CREATE TABLE shards (
    shard       INTEGER PRIMARY KEY,
    owner       TEXT,
    epoch       BIGINT NOT NULL DEFAULT 0,
    lease_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    seq         BIGINT NOT NULL DEFAULT 0
);
INSERT INTO shards (shard) SELECT generate_series(0, 15);

CREATE TABLE runs (
    id          TEXT COLLATE "C" PRIMARY KEY,
    shard       INTEGER NOT NULL,
    workflow    TEXT COLLATE "C" NOT NULL,
    definition  BYTEA NOT NULL,
    content     BYTEA NOT NULL,
    labels      TEXT NOT NULL,
    status      TEXT COLLATE "C" NOT NULL,
    error       TEXT,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX runs_started ON runs (started_at DESC, id DESC);
CREATE INDEX runs_status ON runs (status, started_at DESC, id DESC);
CREATE INDEX runs_workflow ON runs (workflow, started_at DESC, id DESC);
CREATE INDEX runs_live ON runs (shard) WHERE status NOT IN ('succeeded', 'failed', 'canceled');

-- One row per label, the JSON of its key and value, so that a filter is one look at an index.
CREATE TABLE run_labels (
    label TEXT COLLATE "C" NOT NULL,
    run   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (label, run)
);

CREATE TABLE facts (
    run  TEXT COLLATE "C" NOT NULL,
    seq  BIGINT NOT NULL,
    fact BYTEA NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE "values" (digest BYTEA PRIMARY KEY, touched_at BIGINT NOT NULL, bytes BYTEA NOT NULL);
-- Results are hashed, sent and checked as they are: no time is spent on trying to compress them.
ALTER TABLE "values" ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE value_refs (run TEXT COLLATE "C" NOT NULL, digest BYTEA NOT NULL, PRIMARY KEY (run, digest));

CREATE TABLE definitions (digest BYTEA PRIMARY KEY, source BYTEA NOT NULL);

CREATE TABLE names (name TEXT COLLATE "C" PRIMARY KEY, digest BYTEA NOT NULL, registered_at BIGINT NOT NULL);

-- `position` is the order of adding, in which rows are read back.
CREATE TABLE outbox (
    position BIGINT GENERATED ALWAYS AS IDENTITY,
    key      TEXT COLLATE "C" PRIMARY KEY,
    run      TEXT NOT NULL,
    shard    INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    body     BYTEA
);
CREATE INDEX outbox_shard ON outbox (shard, position);

CREATE TABLE timers (
    key   TEXT COLLATE "C" PRIMARY KEY,
    run   TEXT NOT NULL,
    shard INTEGER NOT NULL,
    due   BIGINT NOT NULL
);
CREATE INDEX timers_shard ON timers (shard, due);
