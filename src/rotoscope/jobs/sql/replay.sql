SELECT * FROM jobs
 WHERE key_id = :key_id AND idempotency_key = :idempotency_key
   AND created_at > (SELECT epoch()) - CAST(:seconds AS DOUBLE PRECISION);
