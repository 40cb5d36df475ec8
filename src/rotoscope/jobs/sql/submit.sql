-- A new job at the end of its key's line: one turn after the key's last job, but no earlier than
-- what is handed out now. No row when the id or the idempotency key is there already.
INSERT INTO jobs (id, pool, model_id, key_id, priority, affinity, max_attempts, warnings,
                  created_at, start_by, idempotency_key, fingerprint,
                  webhook_url, webhook_events, webhook_base, fair_rank)
SELECT :id, :pool, :model_id, :key_id, CAST(:priority AS INTEGER), :affinity,
       CAST(:max_attempts AS INTEGER), :warnings,
       epoch(), epoch() + CAST(:start_within_s AS DOUBLE PRECISION), :idempotency_key, :fingerprint,
       :webhook_url, :webhook_events, :webhook_base,
       CASE WHEN mine.rank IS NULL OR mine.rank < pool.rank THEN pool.rank ELSE mine.rank END
  FROM (SELECT coalesce((SELECT CASE WHEN CAST(:priority AS INTEGER) < 0 THEN low_vtime
                                     ELSE vtime END
                           FROM pools WHERE name = :pool), 0) AS rank) AS pool,
       (SELECT (SELECT fair_rank FROM jobs
                 WHERE pool = :pool AND key_id = :key_id AND priority = CAST(:priority AS INTEGER)
                   AND state <> 'cancelled'
                 ORDER BY fair_rank DESC LIMIT 1)
               + CAST(:turn AS DOUBLE PRECISION) AS rank) AS mine
 WHERE TRUE
ON CONFLICT DO NOTHING
RETURNING *;
