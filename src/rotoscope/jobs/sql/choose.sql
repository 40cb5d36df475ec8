-- Which job is next for a worker that has :loaded; no row when none may be.
WITH RECURSIVE
keys (key_id) AS (
  SELECT min(key_id) FROM jobs WHERE pool = :pool AND state = 'in_queue'
  UNION ALL
  SELECT (SELECT min(more.key_id) FROM jobs AS more
           WHERE more.pool = :pool AND more.state = 'in_queue' AND more.key_id > keys.key_id)
    FROM keys WHERE keys.key_id IS NOT NULL
),
-- Keys at their limit, counted from the jobs themselves.
saturated AS MATERIALIZED (
  SELECT running.key_id
    FROM jobs AS running LEFT JOIN {limits} ON most.key = running.key_id
   WHERE running.pool = :pool AND running.state = 'in_progress'
   GROUP BY running.key_id, most.value
  HAVING count(*) >= coalesce(CAST(most.value AS BIGINT), CAST(:default_limit AS BIGINT))
),
front AS MATERIALIZED (
  {front}
),
head AS MATERIALIZED (
  SELECT id, priority, fair_rank, passed_over FROM front
   WHERE key_id NOT IN (SELECT key_id FROM saturated)
   ORDER BY priority DESC, fair_rank, seq
   LIMIT 1
),
-- The first job of each set that the worker holds, if it is no more than :window turns ahead.
warm AS MATERIALIZED (
  SELECT (SELECT near.id
            FROM (SELECT same.id, same.key_id, same.fair_rank, same.seq FROM jobs AS same
                   WHERE same.pool = :pool AND same.state = 'in_queue'
                     AND same.affinity = one.value
                     AND same.priority = (SELECT priority FROM head)
                     AND same.fair_rank
                         <= (SELECT fair_rank FROM head) + CAST(:window AS DOUBLE PRECISION)
                     AND (same.start_by IS NULL OR same.attempt > 0
                          OR same.start_by > (SELECT epoch()))
                   ORDER BY same.fair_rank, same.seq
                   LIMIT 64) AS near
           WHERE near.key_id NOT IN (SELECT key_id FROM saturated)
           ORDER BY near.fair_rank, near.seq
           LIMIT 1) AS id
    FROM {loaded}
   WHERE (SELECT passed_over FROM head) < CAST(:most_passed_over AS INTEGER)
),
best AS MATERIALIZED (
  SELECT id FROM jobs WHERE id IN (SELECT id FROM warm WHERE id IS NOT NULL)
   ORDER BY fair_rank, seq LIMIT 1
)
SELECT coalesce((SELECT id FROM best), head.id) AS id, head.id AS head_id FROM head;
