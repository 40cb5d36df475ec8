SELECT * FROM jobs
 WHERE key_id = :key_id AND seq < CAST(:before AS BIGINT)
   AND state = coalesce(:state, state)
 ORDER BY seq DESC
 LIMIT CAST(:limit AS BIGINT);
