-- A job that a worker holds is not cancelled: the guard decides a race with take.sql.
UPDATE jobs
   SET state = 'cancelled', version = version + 1, finished_at = epoch(),
       expires_at = epoch() + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE id = :id AND state = 'in_queue'
RETURNING *;
