DELETE FROM inputs WHERE job_id = :id;
