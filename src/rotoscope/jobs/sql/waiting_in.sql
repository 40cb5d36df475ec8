SELECT count(*) AS jobs
  FROM (SELECT 1 FROM jobs WHERE state = 'in_queue' AND pool = :pool
         LIMIT CAST(:most AS BIGINT)) AS found;
