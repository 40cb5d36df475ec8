-- By pool, since that is what the index begins with.
SELECT count(*) AS jobs
  FROM pools JOIN jobs
    ON jobs.pool = pools.name AND jobs.key_id = :key_id AND jobs.state = 'in_queue';
