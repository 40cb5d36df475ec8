SELECT count(*) AS jobs FROM jobs
 WHERE key_id = :key_id
   AND created_at > (SELECT epoch()) - CAST(:seconds AS DOUBLE PRECISION);
