-- Leases that ran out: queued again while attempts are left, else failed. The token goes, so that
-- the lost worker's calls are refused. PostgreSQL's selects its rows FOR UPDATE SKIP LOCKED.
UPDATE jobs
   SET state = CASE WHEN attempt < max_attempts THEN 'in_queue' ELSE 'failed' END,
       failure = CASE WHEN attempt < max_attempts THEN NULL ELSE :failure END,
       finished_at = CASE WHEN attempt < max_attempts THEN NULL ELSE epoch() END,
       started_at = CASE WHEN attempt < max_attempts THEN NULL ELSE started_at END,
       token = NULL, lease_until = NULL, progress = NULL
 WHERE state = 'in_progress' AND lease_until < epoch()
RETURNING *;
