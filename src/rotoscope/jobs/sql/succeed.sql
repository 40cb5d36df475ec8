-- Only the attempt that holds the job may end it: a worker given up for lost gets no row.
-- The token stays, so that a repeated call can be told from a late one.
UPDATE jobs
   SET state = 'succeeded', outcome = :outcome, warnings = coalesce(:warnings, warnings),
       lease_until = NULL, progress = NULL, finished_at = epoch()
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
