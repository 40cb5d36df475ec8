UPDATE jobs SET swept_until = epoch() + CAST(:lease_s AS DOUBLE PRECISION)
 WHERE id IN (SELECT id FROM jobs
               WHERE expires_at <= (SELECT epoch()) AND swept_until <= (SELECT epoch())
               ORDER BY expires_at
               LIMIT CAST(:limit AS BIGINT) {skip_locked})
RETURNING *;
