-- Place in the pool's queue, 1 is next; 0 when the job is not queued. Counting stops at :most.
WITH mine AS (SELECT * FROM jobs WHERE id = :id AND state = 'in_queue')
SELECT count(*) AS jobs
  FROM (SELECT 1
          FROM mine JOIN jobs AS ahead
            ON ahead.state = 'in_queue' AND ahead.pool = mine.pool
           AND ahead.priority = mine.priority
           AND (ahead.fair_rank, ahead.seq) <= (mine.fair_rank, mine.seq)
         UNION ALL
        SELECT 1
          FROM mine JOIN jobs AS ahead
            ON ahead.state = 'in_queue' AND ahead.pool = mine.pool
           AND ahead.priority > mine.priority
         LIMIT CAST(:most AS INTEGER)) AS places;
