DELETE FROM deliveries WHERE job_id = :id;
