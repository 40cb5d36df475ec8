-- Jobs that no worker claimed in time. One that was claimed and lost has started, and stays.
UPDATE jobs
   SET state = 'cancelled', failure = :failure, version = version + 1, finished_at = epoch(),
       expires_at = epoch() + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE id IN (SELECT id FROM jobs
               WHERE state = 'in_queue' AND start_by <= (SELECT epoch()) AND attempt = 0
               LIMIT 1000 {skip_locked})
   AND state = 'in_queue'
RETURNING *;
