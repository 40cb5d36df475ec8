-- Back to its old place in the queue, as if it had not been claimed.
UPDATE jobs
   SET state = 'in_queue', attempt = attempt - 1, lease_until = NULL, started_at = NULL,
       progress = NULL
 WHERE id = :id AND token = :token AND state = 'in_progress'
RETURNING *;
