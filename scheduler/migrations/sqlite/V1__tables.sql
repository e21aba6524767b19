-- Times are milliseconds since 1970. Texts of ids compare byte by byte.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('shards', '1');

-- `seq` counts commits; it is there so that the check of the epoch is a write, which two owners cannot both do.
CREATE TABLE shards (
    shard       INTEGER PRIMARY KEY,
    owner       TEXT,
    epoch       INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    seq         INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO shards (shard) VALUES (0);

CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    shard       INTEGER NOT NULL,
    workflow    TEXT NOT NULL,
    definition  BLOB NOT NULL,
    content     BLOB NOT NULL,
    labels      TEXT NOT NULL,
    status      TEXT NOT NULL,
    error       TEXT,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_started ON runs (started_at DESC, id DESC);
CREATE INDEX runs_status ON runs (status, started_at DESC, id DESC);
CREATE INDEX runs_workflow ON runs (workflow, started_at DESC, id DESC);
CREATE INDEX runs_live ON runs (shard) WHERE status NOT IN ('succeeded', 'failed', 'canceled');

-- One row per label, the JSON of its key and value, so that a filter is one look at an index.
CREATE TABLE run_labels (label TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (label, run)) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    run  TEXT NOT NULL,
    seq  INTEGER NOT NULL,
    fact BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE value_refs (run TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (run, digest)) STRICT, WITHOUT ROWID;

CREATE TABLE definitions (digest BLOB PRIMARY KEY, source BLOB NOT NULL) STRICT;

CREATE TABLE names (name TEXT PRIMARY KEY, digest BLOB NOT NULL, registered_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- `position` is the order of adding, in which rows are read back.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY,
    key      TEXT NOT NULL UNIQUE,
    run      TEXT NOT NULL,
    shard    INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    body     BLOB
) STRICT;

CREATE TABLE timers (
    key   TEXT PRIMARY KEY,
    run   TEXT NOT NULL,
    shard INTEGER NOT NULL,
    due   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
