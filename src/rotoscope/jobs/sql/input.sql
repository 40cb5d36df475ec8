-- Written once, with the job: it may be read after the claim's own statement.
SELECT body FROM inputs WHERE job_id = :id;
