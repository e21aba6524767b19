-- Values have a file and a writer of their own, so that a large one never stands in front of a commit.
-- `touched_at` stands before `bytes`, so that touching a value rewrites its first page only.
CREATE TABLE "values" (
    id         INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,
    touched_at INTEGER NOT NULL,
    bytes      BLOB NOT NULL
) STRICT;
