INSERT INTO workers (worker_id, pool, facts, seen_at) VALUES (:worker_id, :pool, :facts, epoch())
ON CONFLICT (worker_id) DO UPDATE
   SET pool = excluded.pool, facts = excluded.facts, seen_at = excluded.seen_at;
