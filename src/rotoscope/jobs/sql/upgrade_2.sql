-- From version 1, which only SQLite files have. Queued jobs keep their order. Foreign keys are off
-- meanwhile: inputs goes on naming jobs.
DROP INDEX jobs_queue;
DROP INDEX jobs_running;
ALTER TABLE jobs RENAME TO jobs_1;
ALTER TABLE schema_version ADD COLUMN release TEXT NOT NULL DEFAULT '0.1.0';
{schema}
INSERT INTO jobs (seq, id, pool, model_id, key_id, priority, fair_rank, affinity, state, attempt,
                  max_attempts, worker_id, token, lease_until, created_at, started_at, finished_at,
                  progress, warnings, outcome, failure)
SELECT seq, id, 'default', model_id, key_id, 0, 0, '', state, attempt,
       max_attempts, worker_id, token, lease_until, created_at, started_at, finished_at,
       progress, warnings, outcome, failure
  FROM jobs_1
 ORDER BY seq;
DROP TABLE jobs_1;
INSERT INTO pools (name) VALUES ('default');
UPDATE schema_version SET version = 2;
