UPDATE deliveries
   SET state = 'sending', attempt = attempt + 1, token = :token,
       next_at = epoch() + CAST(:lease_s AS DOUBLE PRECISION)
 WHERE id = (SELECT id FROM deliveries
              WHERE state IN ('waiting', 'sending') AND next_at <= (SELECT epoch())
              ORDER BY next_at
              LIMIT 1 {skip_locked})
RETURNING *;
