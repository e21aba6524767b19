-- `body` is what the schedule is and how far it has come, as JSON of ours.
CREATE TABLE schedules (name TEXT COLLATE "C" PRIMARY KEY, shard INTEGER NOT NULL, body BYTEA NOT NULL);
CREATE INDEX schedules_shard ON schedules (shard);
