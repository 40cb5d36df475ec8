SELECT * FROM deliveries WHERE job_id = :job_id ORDER BY created_at, id;
