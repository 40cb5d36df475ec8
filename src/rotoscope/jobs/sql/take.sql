-- Give a queued job to :worker_id; no row when it was cancelled meanwhile.
UPDATE jobs
   SET state = 'in_progress', attempt = attempt + 1, version = version + 1,
       worker_id = :worker_id, token = :token,
       lease_until = epoch() + CAST(:lease_s AS DOUBLE PRECISION), started_at = epoch(),
       progress = NULL
 WHERE id = :id AND state = 'in_queue'
RETURNING *;
