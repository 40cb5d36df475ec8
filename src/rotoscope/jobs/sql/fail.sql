UPDATE jobs
   SET state = 'failed', failure = :failure, warnings = coalesce(:warnings, warnings),
       lease_until = NULL, progress = NULL, finished_at = epoch()
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
