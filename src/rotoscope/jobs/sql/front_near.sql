-- The first of the queue: enough, unless they all belong to keys at their limit.
SELECT * FROM jobs
 WHERE pool = :pool AND state = 'in_queue'
   AND (start_by IS NULL OR attempt > 0 OR start_by > (SELECT epoch()))
 ORDER BY priority DESC, fair_rank, seq
 LIMIT 32
