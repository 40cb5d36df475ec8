-- Give the oldest queued job to :worker_id; no row when the queue is empty.
-- SQLite has one writer at a time, so the inner SELECT cannot go stale. PostgreSQL's ends with
-- FOR UPDATE SKIP LOCKED.
UPDATE jobs
   SET state = 'in_progress', attempt = attempt + 1, worker_id = :worker_id, token = :token,
       lease_until = epoch() + :lease_s, started_at = epoch(), progress = NULL
 WHERE id = (SELECT id FROM jobs WHERE state = 'in_queue' ORDER BY seq LIMIT 1)
   AND state = 'in_queue'
RETURNING *;
