-- Leases that ran out: queued again while attempts are left, else failed; cancelled where that was
-- asked for. The token goes, so that the lost worker's calls are refused.
UPDATE jobs
   SET state = CASE WHEN cancel_asked = 1 THEN 'cancelled'
                    WHEN attempt < max_attempts THEN 'in_queue' ELSE 'failed' END,
       failure = CASE WHEN cancel_asked = 0 AND attempt >= max_attempts THEN :failure END,
       finished_at = CASE WHEN cancel_asked = 1 OR attempt >= max_attempts THEN epoch() END,
       expires_at = CASE WHEN cancel_asked = 1 OR attempt >= max_attempts
                         THEN epoch() + CAST(:retention_s AS DOUBLE PRECISION) END,
       started_at = CASE WHEN cancel_asked = 1 OR attempt >= max_attempts THEN started_at END,
       version = version + 1, token = NULL, lease_until = NULL, progress = NULL
 WHERE id IN (SELECT id FROM jobs
               WHERE state = 'in_progress' AND lease_until < epoch() {settled_down} {skip_locked})
   AND state = 'in_progress'
RETURNING *;
