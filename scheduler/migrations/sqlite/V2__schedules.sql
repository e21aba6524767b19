-- `body` is what the schedule is and how far it has come, as JSON of ours.
CREATE TABLE schedules (name TEXT PRIMARY KEY, shard INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_shard ON schedules (shard);
