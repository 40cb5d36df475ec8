-- Prolong the lease of the attempt that holds the job; what is not told stays as it was.
UPDATE jobs
   SET lease_until = epoch() + :lease_s, progress = coalesce(:progress, progress),
       warnings = coalesce(:warnings, warnings)
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
