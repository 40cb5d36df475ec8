-- A key that stood for its job long enough may stand for another one.
UPDATE jobs SET idempotency_key = NULL
 WHERE key_id = :key_id AND idempotency_key = :idempotency_key
   AND created_at <= epoch() - CAST(:seconds AS DOUBLE PRECISION);
