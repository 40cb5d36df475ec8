-- A job that a worker holds is not cancelled: the guard decides a race with claim.sql.
UPDATE jobs
   SET state = 'cancelled', finished_at = epoch()
 WHERE id = :id AND state = 'in_queue'
RETURNING *;
