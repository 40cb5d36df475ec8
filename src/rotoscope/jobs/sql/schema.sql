-- Times are seconds since 1970 by the database's clock, epoch(). JSON is kept as text: jsonb
-- refuses some of what JSON allows, and gives back another text than it was given.
-- release is the first that knows this version: an upgrade sets both.
CREATE TABLE IF NOT EXISTS schema_version (
  version INTEGER NOT NULL,
  release TEXT NOT NULL DEFAULT '0.1.0'
);

CREATE TABLE IF NOT EXISTS jobs (
  seq             {serial},
  id              TEXT NOT NULL UNIQUE,
  pool            TEXT NOT NULL,
  model_id        TEXT NOT NULL,
  key_id          TEXT NOT NULL,
  priority        INTEGER NOT NULL CHECK (priority IN (0, -1)),
  fair_rank       DOUBLE PRECISION NOT NULL,
  affinity        TEXT NOT NULL,
  passed_over     INTEGER NOT NULL DEFAULT 0,
  state           TEXT NOT NULL DEFAULT 'in_queue'
                  CHECK (state IN ('in_queue', 'in_progress', 'succeeded', 'failed', 'cancelled')),
  version         INTEGER NOT NULL DEFAULT 1,
  cancel_asked    INTEGER NOT NULL DEFAULT 0,
  attempt         INTEGER NOT NULL DEFAULT 0,
  max_attempts    INTEGER NOT NULL,
  worker_id       TEXT,
  token           TEXT,
  lease_until     DOUBLE PRECISION,
  created_at      DOUBLE PRECISION NOT NULL,
  start_by        DOUBLE PRECISION,
  started_at      DOUBLE PRECISION,
  finished_at     DOUBLE PRECISION,
  expires_at      DOUBLE PRECISION,
  swept_until     DOUBLE PRECISION NOT NULL DEFAULT 0,
  progress        TEXT,
  warnings        TEXT NOT NULL,
  outcome         TEXT,
  failure         TEXT,
  idempotency_key TEXT,
  fingerprint     TEXT,
  webhook_url     TEXT,
  webhook_events  TEXT,
  webhook_base    TEXT,
  CHECK ((state = 'in_progress') = (lease_until IS NOT NULL)),
  CHECK (state <> 'in_progress' OR token IS NOT NULL),
  CHECK (cancel_asked = 0 OR state IN ('in_progress', 'cancelled')),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
  CHECK (expires_at IS NULL OR finished_at IS NOT NULL),
  CHECK ((state = 'succeeded') = (outcome IS NOT NULL)),
  CHECK (state <> 'failed' OR failure IS NOT NULL),
  CHECK (failure IS NULL OR state IN ('failed', 'cancelled'))
) {often_updated};

-- A body may hold 64 MiB of data URIs: apart, so that a heartbeat does not rewrite it.
CREATE TABLE IF NOT EXISTS inputs (
  job_id TEXT PRIMARY KEY REFERENCES jobs (id),
  body   TEXT NOT NULL
);

-- vtime is the rank of the last job that was handed out: where newcomers stand in line.
-- The row is also what claims of one pool take turns by.
CREATE TABLE IF NOT EXISTS pools (
  name      TEXT PRIMARY KEY,
  paused    INTEGER NOT NULL DEFAULT 0,
  vtime     DOUBLE PRECISION NOT NULL DEFAULT 0,
  low_vtime DOUBLE PRECISION NOT NULL DEFAULT 0
) {often_updated};

-- Webhooks to send, each written in the transaction of the change that it tells.
-- next_at is when one is due; of one that is being sent, when its sender is given up.
CREATE TABLE IF NOT EXISTS deliveries (
  id          TEXT PRIMARY KEY,
  job_id      TEXT NOT NULL REFERENCES jobs (id),
  key_id      TEXT NOT NULL,
  event       TEXT NOT NULL,
  url         TEXT NOT NULL,
  base_url    TEXT NOT NULL,
  attempt     INTEGER NOT NULL DEFAULT 0,
  state       TEXT NOT NULL DEFAULT 'waiting'
              CHECK (state IN ('waiting', 'sending', 'delivered', 'failed')),
  next_at     DOUBLE PRECISION NOT NULL,
  token       TEXT,
  last_status INTEGER,
  last_note   TEXT NOT NULL DEFAULT '',
  created_at  DOUBLE PRECISION NOT NULL,
  done_at     DOUBLE PRECISION
);

CREATE TABLE IF NOT EXISTS workers (
  worker_id TEXT PRIMARY KEY,
  pool      TEXT NOT NULL,
  facts     TEXT NOT NULL,
  seen_at   DOUBLE PRECISION NOT NULL
);

CREATE INDEX IF NOT EXISTS jobs_queue ON jobs (pool, priority DESC, fair_rank, seq)
  WHERE state = 'in_queue';
CREATE INDEX IF NOT EXISTS jobs_queue_of_key ON jobs (pool, key_id, priority DESC, fair_rank, seq)
  WHERE state = 'in_queue';
CREATE INDEX IF NOT EXISTS jobs_queue_of_set ON jobs (pool, affinity, priority DESC, fair_rank, seq)
  WHERE state = 'in_queue';
CREATE INDEX IF NOT EXISTS jobs_start_by ON jobs (start_by)
  WHERE state = 'in_queue' AND start_by IS NOT NULL;
-- Not on lease_until: every heartbeat would have to move its index entry.
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (pool, key_id) WHERE state = 'in_progress';
CREATE INDEX IF NOT EXISTS jobs_turns ON jobs (pool, key_id, priority, fair_rank)
  WHERE state <> 'cancelled';
CREATE INDEX IF NOT EXISTS jobs_of_key ON jobs (key_id, seq);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (key_id, created_at);
CREATE INDEX IF NOT EXISTS jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_idempotency ON jobs (key_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (next_at)
  WHERE state IN ('waiting', 'sending');
CREATE INDEX IF NOT EXISTS deliveries_of_job ON deliveries (job_id);
