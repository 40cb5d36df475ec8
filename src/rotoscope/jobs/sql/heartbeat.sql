-- Prolong the lease of the attempt that holds the job; what is not told stays as it was.
UPDATE jobs
   SET lease_until = epoch() + CAST(:lease_s AS DOUBLE PRECISION),
       version = version + CASE WHEN coalesce(:progress, progress, '') <> coalesce(progress, '')
                                  OR coalesce(:warnings, warnings) <> warnings
                                THEN 1 ELSE 0 END,
       progress = coalesce(:progress, progress), warnings = coalesce(:warnings, warnings)
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
