-- The worker hears of it by its next heartbeat.
UPDATE jobs SET cancel_asked = 1, version = version + 1
 WHERE id = :id AND state = 'in_progress' AND cancel_asked = 0
RETURNING *;
