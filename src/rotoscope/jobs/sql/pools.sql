SELECT pools.name, pools.paused, coalesce(queue.jobs, 0) AS queued,
       epoch() - queue.oldest AS oldest_s, coalesce(running.jobs, 0) AS running
  FROM pools
  LEFT JOIN (SELECT pool, count(*) AS jobs, min(created_at) AS oldest
               FROM jobs WHERE state = 'in_queue' GROUP BY pool) AS queue
    ON queue.pool = pools.name
  LEFT JOIN (SELECT pool, count(*) AS jobs
               FROM jobs WHERE state = 'in_progress' GROUP BY pool) AS running
    ON running.pool = pools.name
 ORDER BY pools.name;
