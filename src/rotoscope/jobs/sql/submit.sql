-- A new job at the end of the queue.
INSERT INTO jobs (id, model_id, key_id, max_attempts, warnings, created_at)
VALUES (:id, :model_id, :key_id, :max_attempts, :warnings, epoch())
RETURNING *;
