-- The tables as version 1 laid them out; an upgrade starts from here.
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);

CREATE TABLE jobs (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT NOT NULL UNIQUE,
  model_id     TEXT NOT NULL,
  key_id       TEXT NOT NULL,
  state        TEXT NOT NULL DEFAULT 'in_queue'
               CHECK (state IN ('in_queue', 'in_progress', 'succeeded', 'failed', 'cancelled')),
  attempt      INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  worker_id    TEXT,
  token        TEXT,
  lease_until  REAL,
  created_at   REAL NOT NULL,
  started_at   REAL,
  finished_at  REAL,
  progress     TEXT,
  warnings     TEXT NOT NULL,
  outcome      TEXT,
  failure      TEXT,
  CHECK ((state = 'in_progress') = (lease_until IS NOT NULL)),
  CHECK (state <> 'in_progress' OR token IS NOT NULL),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
  CHECK ((state = 'succeeded') = (outcome IS NOT NULL)),
  CHECK ((state = 'failed') = (failure IS NOT NULL))
);

-- A body may hold 64 MiB of data URIs: apart, so that a heartbeat does not rewrite it.
CREATE TABLE inputs (
  job_id TEXT PRIMARY KEY REFERENCES jobs (id),
  body   TEXT NOT NULL
);

CREATE INDEX jobs_queue ON jobs (seq) WHERE state = 'in_queue';
-- Not on lease_until: every heartbeat would have to move its index entry.
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'in_progress';
