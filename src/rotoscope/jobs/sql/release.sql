-- Back to its old place in the queue, as if it had not been claimed.
UPDATE jobs
   SET state = CASE WHEN cancel_asked = 1 THEN 'cancelled' ELSE 'in_queue' END,
       attempt = attempt - 1, version = version + 1, lease_until = NULL, progress = NULL,
       started_at = CASE WHEN cancel_asked = 1 THEN started_at END,
       finished_at = CASE WHEN cancel_asked = 1 THEN epoch() END,
       expires_at = CASE WHEN cancel_asked = 1
                         THEN epoch() + CAST(:retention_s AS DOUBLE PRECISION) END
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
