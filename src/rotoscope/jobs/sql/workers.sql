SELECT * FROM workers WHERE seen_at > epoch() - CAST(:within_s AS DOUBLE PRECISION)
 ORDER BY worker_id;
