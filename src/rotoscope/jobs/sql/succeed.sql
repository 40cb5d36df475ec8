-- Only the attempt that holds the job may end it: a worker given up for lost gets no row.
-- The token stays, so that a repeated call can be told from a late one.
UPDATE jobs
   SET state = CASE WHEN cancel_asked = 1 THEN 'cancelled' ELSE 'succeeded' END,
       outcome = CASE WHEN cancel_asked = 1 THEN NULL ELSE :outcome END,
       warnings = coalesce(:warnings, warnings), version = version + 1,
       lease_until = NULL, progress = NULL, finished_at = epoch(),
       expires_at = epoch() + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
