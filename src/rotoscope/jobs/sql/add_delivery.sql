-- A webhook to send. Progress is told as it is when it is sent: one that waits is enough.
INSERT INTO deliveries (id, job_id, key_id, event, url, base_url, next_at, created_at)
SELECT :id, jobs.id, jobs.key_id, :event, jobs.webhook_url, jobs.webhook_base, epoch(), epoch()
  FROM jobs
 WHERE jobs.id = :job_id
   AND NOT (:event = 'request.progress'
            AND EXISTS (SELECT 1 FROM deliveries
                         WHERE deliveries.job_id = :job_id AND deliveries.event = 'request.progress'
                           AND deliveries.state = 'waiting'));
