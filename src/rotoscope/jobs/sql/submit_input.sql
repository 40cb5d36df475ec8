-- The input of a new job, in the same transaction as its row.
INSERT INTO inputs (job_id, body) VALUES (:id, :input);
