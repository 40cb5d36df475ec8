UPDATE jobs
   SET state = 'cancelled', version = version + 1, lease_until = NULL, progress = NULL,
       finished_at = epoch(), expires_at = epoch() + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE id = :id AND token = :token AND state = 'in_progress' AND cancel_asked = 1
RETURNING *;
