UPDATE jobs
   SET state = CASE WHEN cancel_asked = 1 THEN 'cancelled' ELSE 'failed' END,
       failure = CASE WHEN cancel_asked = 1 THEN NULL ELSE :failure END,
       warnings = coalesce(:warnings, warnings), version = version + 1,
       lease_until = NULL, progress = NULL, finished_at = epoch(),
       expires_at = epoch() + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
